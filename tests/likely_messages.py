"""Messages that a server might be sent, right and wrong."""

from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
TYPES = st.sampled_from(["reset", "step", "state", "snapshot", "restore", "close"])
FIELDS = st.sampled_from(
    ["seed", "episode_id", "task_id", "options", "text", "metadata", "snapshot"]
)
LIKELY = st.fixed_dictionaries(
    {"type": TYPES | JSON},
    optional={"data": st.dictionaries(FIELDS, JSON, max_size=3) | JSON, "more": JSON},
)

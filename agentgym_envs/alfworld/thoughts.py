"""What an expert says before it acts: a few words, always built the same way.

    find mug | take mug 1 | open drawer 2 | clean mug 1 | heat mug 1 | cool mug 1
    put mug 1 in desk | use desklamp 1 | drop fork 1

A thought names the aim, not the next command: it is "heat mug 1" while walking to the microwave.
"""


def aim(verb: str, thing: str, receptacle: str = "") -> str:
    """The thought for an aim. receptacle: needed for "put", with or without its number."""
    if verb == "put":
        return f"put {thing} in {receptacle.rpartition(' ')[0] or receptacle}"
    return f"{verb} {thing}"

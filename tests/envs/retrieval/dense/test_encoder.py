import subprocess
import sys

import numpy as np
import pytest

from agentgym_envs.retrieval.dense.encoder import BGE_INSTRUCTION, Encoder, Encoding

torch = pytest.importorskip("torch", reason="encoders need torch")
transformers = pytest.importorskip("transformers", reason="encoders need transformers")

LETTERS = "abcdefghijklmnopqrstuvwxyz:"
TEXTS = ["a bee", "the honey of a bee is sweet", "", "x", "one two three four five six seven"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a BERT of random weights that reads letters."""
    folder = tmp_path_factory.mktemp("models") / "tiny-e5"
    folder.mkdir()
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *LETTERS,
        *(f"##{one}" for one in LETTERS),
    ]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_those_of_sentence_transformers(model, pooling):
    library = pytest.importorskip("sentence_transformers", reason="the reference is not installed")
    modules = pytest.importorskip("sentence_transformers.sentence_transformer.modules")

    words = modules.Transformer(str(model), max_seq_length=20)
    reference = library.SentenceTransformer(
        modules=[words, modules.Pooling(32, pooling_mode=pooling)], device="cpu"
    )
    encoding = Encoding.for_model(str(model), pooling=pooling, query_length=20, passage_length=20)
    encoder = Encoder(model, encoding, batch_size=2)
    for prefix, encode in (
        ("query: ", encoder.encode_queries),
        ("passage: ", encoder.encode_passages),
    ):
        wanted = reference.encode(
            [prefix + one for one in TEXTS], normalize_embeddings=True, convert_to_numpy=True
        )
        assert np.abs(encode(TEXTS) - wanted).max() < 1e-5


def test_a_text_has_one_vector_whatever_it_is_batched_with(model):
    encoder = Encoder(model, batch_size=3)
    together = encoder.encode_passages(TEXTS)
    alone = np.concatenate([encoder.encode_passages([one]) for one in TEXTS])
    assert together.shape == (5, 32) and together.dtype == np.float32
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(np.linalg.norm(together, axis=1) - 1).max() < 1e-5
    assert encoder.encode_queries([]).shape == (0, 32)


def test_texts_are_cut_at_their_length(model):
    encoder = Encoder(model, Encoding(query_length=6, passage_length=8))
    long = "a b c d e f g h i j"  # [CLS], then a token a letter, then [SEP]
    assert np.array_equal(encoder.encode_queries([long]), encoder.encode_queries(["a b c d"]))
    assert np.array_equal(encoder.encode_passages([long]), encoder.encode_passages(["a b c d e f"]))


@pytest.mark.parametrize(
    ("model", "query", "passage", "pooling"),
    [
        ("intfloat/e5-base-v2", "query: ", "passage: ", "mean"),
        ("intfloat/multilingual-E5-small", "query: ", "passage: ", "mean"),
        ("BAAI/bge-base-en-v1.5", BGE_INSTRUCTION, "", "cls"),
        ("sentence-transformers/all-MiniLM-L6-v2", "", "", "mean"),
        ("/c/models--intfloat--e5-base-v2/snapshots/f52bf8e0", "query: ", "passage: ", "mean"),
        ("/c/models--x--minilm/snapshots/ae5e5b", "", "", "mean"),
        ("/e5/minilm", "", "", "mean"),
    ],
)
def test_a_name_says_the_prefixes(model, query, passage, pooling):
    found = Encoding.for_model(model)
    assert (found.query_prefix, found.passage_prefix, found.pooling) == (query, passage, pooling)


def test_what_is_given_wins_over_the_name():
    found = Encoding.for_model("e5-base", query_prefix="", passage_prefix="p ", pooling="cls")
    assert found == Encoding(passage_prefix="p ", pooling="cls")


def test_the_fingerprint_names_weights_and_encoding(model, tmp_path):
    first = Encoder(model)
    assert Encoder(model, batch_size=1, dtype="bfloat16").fingerprint == first.fingerprint
    other_prefix = Encoding.for_model(str(model), query_prefix="ask: ")
    assert Encoder(model, other_prefix).fingerprint != first.fingerprint
    changed = transformers.AutoModel.from_pretrained(model)
    with torch.no_grad():
        changed.embeddings.word_embeddings.weight[7, 3] += 1e-3
    changed.save_pretrained(tmp_path / "tiny-e5")
    first._tokenizer.save_pretrained(tmp_path / "tiny-e5")
    assert Encoder(tmp_path / "tiny-e5").fingerprint != first.fingerprint


def test_a_lower_precision_is_near(model):
    exact = Encoder(model).encode_queries(TEXTS)
    near = Encoder(model, dtype="bfloat16").encode_queries(TEXTS)
    assert 1e-5 < np.abs(exact - near).max() < 0.05


def test_wrong_settings_are_refused(model):
    with pytest.raises(ValueError, match="'double'.*float32"):
        Encoder(model, dtype="double")
    with pytest.raises(ValueError, match="batch_size"):
        Encoder(model, batch_size=0)
    with pytest.raises(ValueError, match="'max'.*mean, cls"):
        Encoding(pooling="max")
    with pytest.raises(ValueError, match="from 1"):
        Encoding(query_length=0)


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, agentgym_envs, agentgym_envs.retrieval\n"
        "import agentgym_envs.retrieval.dense.encoder, agentgym_envs.retrieval.dense.flat\n"
        "import agentgym_envs.retrieval.dense.faiss_index, agentgym_envs.retrieval.open\n"
        "import agentgym_envs.retrieval.lucene.retriever\n"
        "print({'torch', 'transformers', 'faiss', 'pyserini', 'jnius'} & set(sys.modules))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"

"""Bringing pyserini to life: Java is looked at first, since a JVM that fails takes Python along."""

import contextlib
import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agentgym_envs.retrieval.needs import needed
from agentgym_envs.retrieval.types import RetrievalError

# Versions of pyserini that have their classes compiled for Java 21; earlier ones for 11.
_JAVA_21_FROM = (0, 35)
_VECTORS = "jdk.incubator.vector"  # a module that those versions ask the JVM for
_PLACEHOLDER = "not-a-key"


def lucene_searcher() -> Any:
    """pyserini's class LuceneSearcher, imported (seconds, and a JVM of about 0.6 GB).

    Raises ModuleNotFoundError where pyserini is not installed, and RetrievalError saying what to
    do where Java is missing, too old or trimmed.
    """
    check_java()
    with placeholder_key():
        return needed("pyserini.search.lucene").LuceneSearcher


def check_java() -> int:
    """The Java version that pyserini will run on. Raises as `lucene_searcher`."""
    version = _pyserini_version()
    needs = 21 if version >= _JAVA_21_FROM else 11
    shown = ".".join(map(str, version))
    java = _java(needs, shown)
    found = _java_version(java)
    if found < needs:
        advice = f"install Java {needs} or newer and point JAVA_HOME at it"
        if needs == 21 and found >= 11:
            advice += (
                '; or, to stay with this Java: pip install "pyserini==0.25.0" (its indexes have '
                "another format)"
            )
        raise RetrievalError(
            f"pyserini {shown} needs Java {needs}, and {java} is Java {found}: {advice}"
        )
    if needs == 21:
        modules = subprocess.run([java, "--list-modules"], capture_output=True, text=True)
        if _VECTORS not in modules.stdout:
            raise RetrievalError(
                f"{java} is a trimmed Java without the module {_VECTORS}, which pyserini {shown} "
                "starts the JVM with: point JAVA_HOME at a full JDK"
            )
    return found


@contextlib.contextmanager
def placeholder_key() -> Iterator[dict[str, str]]:
    """OPENAI_API_KEY has some value inside, here and in the environment that is given.

    pyserini makes an OpenAI client as it is imported, which refuses to be made without a key. BM25
    never uses it.
    """
    if "OPENAI_API_KEY" in os.environ:
        yield dict(os.environ)
        return
    os.environ["OPENAI_API_KEY"] = _PLACEHOLDER
    try:
        yield dict(os.environ)
    finally:
        del os.environ["OPENAI_API_KEY"]


def _pyserini_version() -> tuple[int, ...]:
    try:
        version = importlib.metadata.version("pyserini")
    except importlib.metadata.PackageNotFoundError as error:
        raise ModuleNotFoundError(
            'pyserini is not installed and kind "lucene" needs it: pip install pyserini (and '
            'Java 21). Kind "bm25" gives the same ranking without either',
            name="pyserini",
        ) from error
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _java(needs: int, shown: str) -> str:
    """The path of the java that pyserini's JVM belongs to."""
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home) / "bin" / "java"
        if not java.is_file():
            raise RetrievalError(
                f"JAVA_HOME is {home}, and there is no bin/java in it: point it at a JDK, or "
                "unset it"
            )
        return str(java)
    found = shutil.which("java")
    if found is None:
        raise RetrievalError(
            f"pyserini {shown} needs Java {needs}, and there is no java: install it (Debian, "
            f"Ubuntu: apt install openjdk-{max(needs, 17)}-jdk-headless; conda: conda install -c "
            f"conda-forge openjdk={max(needs, 17)}) or point JAVA_HOME at it"
        )
    return found


def _java_version(java: str) -> int:
    """The major version, as `java -version` says it: "17.0.9" is 17, "1.8.0_382" is 8."""
    ran = subprocess.run([java, "-version"], capture_output=True, text=True)
    said = (ran.stderr + ran.stdout).strip()
    found = re.search(r'version "(?:1\.)?(\d+)', said)
    if found is None:
        raise RetrievalError(f"`{java} -version` did not say a version but {said!r:.200}")
    return int(found[1])

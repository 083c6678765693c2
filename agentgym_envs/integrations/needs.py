"""Whether another project's package is there, at a version that was tested."""

import re
from importlib.metadata import PackageNotFoundError, version

_RELEASE = re.compile(r"(\d+)(?:\.(\d+))?")


def require(package: str, first: tuple[int, int], below: tuple[int, int]) -> None:
    """Raise ImportError, naming the pip command, unless the package is installed at a version
    from `first` on and below `below` (major and minor numbers).

    package: the distribution's name, as pip knows it.
    """
    wanted = f"{package}>={first[0]}.{first[1]},<{below[0]}.{below[1]}"
    fix = f'pip install "{wanted}"'
    try:
        found = version(package)
    except PackageNotFoundError:
        raise ImportError(f"this needs {package}, which is not installed: {fix}") from None
    release = _RELEASE.match(found)
    numbers = (int(release[1]), int(release[2] or 0)) if release else (0, 0)
    if not first <= numbers < below:
        raise ImportError(f"this was tested with {wanted}; {package} {found} is installed: {fix}")

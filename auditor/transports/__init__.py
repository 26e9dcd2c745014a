"""Faust transports of ours: one in this process's memory, one on Kafka with corrections. Nothing else lives here.

They reach into faust's and aiokafka's internals, so both versions are checked before either is used.
"""

from importlib.metadata import version

from comparators.errors import NotInstalled

TRIED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0"}
"""The versions whose internals were read and whose behaviour the tests pin."""


def require_tried_versions(installed: dict[str, str]) -> None:
    """Refuse versions that nobody has tried.

    Raises:
        NotInstalled: names the package, what is there and what is needed.
    """
    for package, wanted in TRIED.items():
        if (seen := installed[package]) != wanted:
            raise NotInstalled(f"{package} {seen} is installed, not {wanted}", hint=f"pip install {package}=={wanted}")


require_tried_versions({package: version(package) for package in TRIED})

"""`python -m auditor` and the command `auditor`."""

import sys
import traceback

NOT_KNOWN = 3
"""A broken installation must not look like a difference, which is what Python's own 1 would say."""


def main() -> int:
    """Run the command line; give its exit code, also where it cannot even be loaded."""
    try:
        from auditor.cli import main as run
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        print(f"error: this installation of auditor is broken: {said}; hint: install it again", file=sys.stderr)
        return NOT_KNOWN
    return run()


if __name__ == "__main__":
    sys.exit(main())

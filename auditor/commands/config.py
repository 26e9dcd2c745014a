"""`auditor config`: print an example, check a file, print the schema."""

import argparse
import json
import sys
from importlib import resources

from auditor.commands.arguments import Commands, add_json, config_of


def register(commands: Commands) -> None:
    """Add the group."""
    group = commands.group("config", "write and check a configuration file")
    group.add("example", _example, "print a commented configuration", "auditor config example > auditor.yaml")
    validate = group.add(
        "validate",
        _validate,
        "say everything that is wrong with a configuration file",
        "auditor config validate\nauditor config validate -c orders.yaml --secrets",
    )
    validate.add_argument("--secrets", action="store_true", help="also read the secrets it refers to (never shown)")
    add_json(validate)
    group.add("schema", _schema, "print the JSON Schema of the file", "auditor config schema > schema.json")


def example() -> str:
    """Give the commented example."""
    return resources.files("auditor").joinpath("config_example.yaml").read_text(encoding="utf-8")


def _example(args: argparse.Namespace) -> int:
    print(example(), end="")
    return 0


def _schema(args: argparse.Namespace) -> int:
    from auditor.schema import SCHEMA

    print(json.dumps(SCHEMA, indent=2, ensure_ascii=False))
    return 0


def _validate(args: argparse.Namespace) -> int:
    from auditor.accepted_differences import load_accepted
    from auditor.gate_limits import limits_of
    from auditor.mapping_file import load_mapping
    from auditor.settings import load, problems

    file, found = problems(config_of(args))
    if not found:
        settings = load(file)
        limits_of(settings)
        load_mapping(settings.mapping)
        load_accepted(settings.accepted_differences)
        if args.secrets:
            settings.check_secrets()
            settings.check_tokens()
            if settings.cutover:
                settings.cutover.check_secrets()
    if args.json:
        listed = [{"path": one.path, "text": one.text, "hint": one.hint} for one in found]
        print(json.dumps({"file": str(file), "valid": not found, "problems": listed}))
    elif not found:
        print(f"{file}: a valid configuration of the migration {settings.migration}")
    for one in found:
        print(f"error: {file}: {one.path}: {one.text}; hint: {one.hint}", file=sys.stderr)
    return 2 if found else 0

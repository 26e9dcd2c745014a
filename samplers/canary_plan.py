"""Decide how the marker and canary tables get into the user's publication without stopping anybody's apply (ruling 11).

Target first, source next, then publication and REFRESH: a row of a table that the target does not know stops its apply.
"""

from dataclasses import dataclass

from comparators.positions import Side
from samplers import steps
from samplers.catalog import Subscription
from samplers.steps import Step
from samplers.survey import CONTROL_TABLES, PrepareRequest, SideSurvey, Survey


@dataclass(frozen=True, slots=True)
class CanaryPlan:
    """How marker and canary come to be in place."""

    steps: tuple[Step, ...]
    possible: bool
    """Something can carry them from the source to the target."""


def plan_canary(survey: Survey, request: PrepareRequest) -> CanaryPlan:
    """Decide what is left to do for our tables, and what of it another role has to do."""
    carrier, reason = _carrier(survey, request)
    if carrier is None:
        return CanaryPlan((Step(Side.SOURCE, "marker and canary", "-- " + str(reason), refused=reason),), False)
    publication, subscription = carrier
    missing = [t for t in request.control_tables if t not in survey.published]
    unsubscribed = [t for t in request.control_tables if t not in subscription.table_names]
    created = (*_control_tables(Side.TARGET, survey.target, request), *_apply_rights(survey, request, subscription),
               *_control_tables(Side.SOURCE, survey.source, request))  # fmt: skip
    refused = _canary_refused(survey, request, subscription) if created or missing or unsubscribed else None
    found = [*created]
    if missing and not survey.source.publications[publication].all_tables:
        owned = survey.source.publications[publication].owned
        not_ours = None if owned else f"publication {publication} belongs to another role"
        found.append(steps.add_tables(Side.SOURCE, publication, missing, not_ours))
    if unsubscribed or missing:
        not_ours = None if subscription.owned else f"subscription {subscription.name} belongs to another role"
        found.append(steps.refresh(subscription.name, not_ours))
    if refused:
        found = [_refuse(step, refused) for step in found]
    if any(step.refused for step in found):
        found += _for_person(survey, request)
    return CanaryPlan(tuple(found), True)


def _refuse(step: Step, reason: str) -> Step:
    return Step(step.side, step.what, step.sql, step.action, step.names, step.refused or reason)


def _carrier(survey: Survey, request: PrepareRequest) -> tuple[tuple[str, Subscription] | None, str | None]:
    """Choose the publication and the subscription that carry our tables, or say why none can."""
    pairs = [
        (name, survey.target.subscriptions[s])
        for s in request.subscriptions for name in survey.target.subscriptions[s].publications
        if name in request.publications
    ]  # fmt: skip
    whole = [pair for pair in pairs if survey.source.publications[pair[0]].all_tables]
    if len({subscription.name for _, subscription in whole}) > 1:
        return None, "several subscriptions use publications FOR ALL TABLES, so that each would bring our tables"
    publication, subscription = (whole or pairs)[0]
    if lacking := {"insert", "update", "delete"} - set(survey.source.publications[publication].operations):
        return None, f"publication {publication} does not publish {', '.join(sorted(lacking))}"
    return (publication, subscription), None


def _control_tables(side: Side, found: SideSurvey, request: PrepareRequest) -> list[Step]:
    missing = [name for name in CONTROL_TABLES if name not in found.own_tables]
    if not missing:
        return []
    refused = None
    if found.schema_exists and not found.schema_owned:
        refused = f"{side}: schema {request.schema} belongs to another role"
    if not found.schema_exists and not found.facts.may_create:
        refused = f"{side}: role {found.facts.role} may not create schemas in database {found.facts.database}"
    schema = [] if found.schema_exists else [steps.create_schema(side, request.schema, refused)]
    return schema + [steps.create_table(side, request.schema, name, refused) for name in missing]


def _apply_rights(survey: Survey, request: PrepareRequest, subscription: Subscription) -> list[Step]:
    """Let the subscription's owner write to our tables where apply runs as that role."""
    missing = set(CONTROL_TABLES) - survey.target.own_tables
    ours = subscription.owner == survey.target.facts.role
    if not missing or subscription.owner_superuser or ours or not subscription.runs_as_owner:
        return []
    return steps.grant_tables(Side.TARGET, request.schema, request.control_tables, subscription.owner)


def _canary_refused(survey: Survey, request: PrepareRequest, subscription: Subscription) -> str | None:
    """Say what stands against our tables although each statement might be permitted, or `None`."""
    known = frozenset(
        slot for s in request.subscriptions if (slot := survey.target.subscriptions[s].slot_name) is not None
    )
    if others := survey.source.consumers(known):
        return f"slot {others[0]} shows that somebody else reads the source, who would get our tables too"
    if any(p.all_tables for p in survey.target.publications.values()) and (others := survey.target.consumers(known)):
        return f"slot {others[0]} shows that somebody else reads the target, who would get our tables too"
    published = survey.published_to[subscription.name] - set(request.control_tables)
    if differing := sorted(published ^ (subscription.table_names - set(request.control_tables))):
        return (
            f"subscription {subscription.name} and its publications differ in {', '.join(differing[:3])}:"
            " refresh it yourself first, as ours would not copy rows"
        )
    role = survey.target.facts.role
    writes = subscription.runs_as_owner or subscription.owner_superuser or subscription.owner_may_become_us
    if not writes and subscription.owner != role:
        return f"apply runs as {subscription.owner}, who may not write to tables of {role}: GRANT {role} to it"
    return None


def _for_person(survey: Survey, request: PrepareRequest) -> list[Step]:
    """Add what our role needs where somebody else creates the tables."""
    refused = "whoever creates our tables grants them to us"
    return [
        _refuse(step, refused)
        for side in Side
        for step in steps.grant_tables(side, request.schema, request.control_tables, survey.side(side).facts.role)
    ]

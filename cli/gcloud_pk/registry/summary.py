"""A request in people's words. Pure."""

from __future__ import annotations

from gcloud_pk.model.request import Environment, TenantRequest


def summary(request: TenantRequest) -> list[tuple[str, str]]:
    """Return (what, text) pairs: what an approver must have read."""
    spec = request.spec
    marks = [
        word
        for word, true in (
            ("personal data", spec.personal_data),
            ("critical infrastructure", spec.critical_infrastructure),
        )
        if true
    ]
    asker = spec.requested_by
    rows = [
        ("tenant", f"{request.metadata.name}, revision {request.metadata.revision}"),
        ("organisation", spec.organisation),
        ("asked by", f"{asker.name}, {asker.designation} <{asker.email}>"),
        ("purpose", spec.purpose.en),
        ("purpose (ur)", spec.purpose.ur or ""),
        ("class", ", ".join([spec.classification, *marks])),
        ("isolation", spec.isolation),
        ("site", f"{spec.site.primary}, recovery {spec.site.recovery or 'none'}" if spec.site else "by classification"),
        ("owner", f"{spec.contacts.owner.name} <{spec.contacts.owner.email}>"),
        ("technical", ", ".join(f"{person.name} <{person.email}>" for person in spec.contacts.technical)),
        ("admins", ", ".join(spec.access.admins)),
        ("developers", ", ".join(spec.access.developers)),
        ("auditors", ", ".join(spec.access.auditors)),
        ("budget", f"cpu {spec.budget.cpu}, memory {spec.budget.memory}, storage {spec.budget.storage}"),
        ("registries", ", ".join(spec.registries)),
        ("storage classes", ", ".join(spec.storage_classes)),
        ("cost centre", spec.cost_centre or ""),
        ("review after", str(spec.review_after or "")),
    ]
    for environment in spec.environments:
        rows += _environment(request, environment)
    return [(what, text) for what, text in rows if text]


def _environment(request: TenantRequest, environment: Environment) -> list[tuple[str, str]]:
    quota = environment.quota
    namespace = request.namespace(environment.name)
    size = f"cpu {quota.cpu}, memory {quota.memory}, storage {quota.storage}, {quota.pods} pods"
    rows = [
        ("environment", f"{environment.name} ({environment.tier}), namespace {namespace}: {size}"),
        ("  exposure", environment.exposure),
        ("  domains", ", ".join(environment.domains)),
        ("  reached from", ", ".join(environment.allow_from)),
    ]
    for flow in environment.egress:
        ports = ", ".join(str(port) for port in flow.ports)
        rows.append(("  reaches", f"{flow.to} ({ports}): {flow.reason}"))
    return rows

"""The page that a ministry gets: what its tenant has, how to sign in, a first workload, what is refused, whom to call.

From an accepted request and the registry's settings alone; the same input gives the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, get_args

from gcloud_pk.model.classification import FLOOR
from gcloud_pk.model.quantity import Quantity
from gcloud_pk.model.request import Environment, Person, Port, Tier
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render import sample
from gcloud_pk.render.catalogue import Catalogue, catalogue
from gcloud_pk.render.kubeconfig import KUBELOGIN
from gcloud_pk.render.page import (
    Block,
    Code,
    Heading,
    Items,
    Page,
    Paragraph,
    Section,
    Sentence,
    Table,
    Value,
    html,
    markdown,
)

Language = Literal["en", "ur"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

SAMPLE_FILE = "hello.yaml"

_CALMEST: tuple[Tier, ...] = ("sandbox", "development", "staging", "production")
_UNITS = {"Ki": "KiB", "Mi": "MiB", "Gi": "GiB", "Ti": "TiB", "Pi": "PiB", "Ei": "EiB"}


def welcome(tenant: Tenant, language: Language, *, as_html: bool = False) -> str:
    """Return the page in a language, as Markdown or as one HTML file."""
    page = _Welcome(tenant, catalogue("welcome", language)).page()
    return html(page) if as_html else markdown(page)


def _text(value: object) -> Value:
    return Value(str(value))


def _code(value: object) -> Value:
    return Value(str(value), "code")


class _Welcome:
    """The sections of one tenant's page in one language."""

    def __init__(self, tenant: Tenant, say: Catalogue) -> None:
        self.tenant, self.say = tenant, say
        self.spec = tenant.request.spec
        # Where a mistake costs least, for the first look and the sample.
        self.first = min(self.spec.environments, key=lambda e: _CALMEST.index(e.tier))
        name = tenant.organisation.name
        self.organisation = _text(self._own(name.en, name.ur))

    def _own(self, en: str, ur: str | None) -> str:
        """Return a text of the registry in the reader's language, where there is one."""
        return ur if self.say.language == "ur" and ur else en

    def page(self) -> Page:
        say, tenant = self.say, self.tenant
        sections = (
            ("glance", self._glance()),
            ("class", self._class()),
            ("environments", self._environments()),
            ("people", self._people()),
            ("signin", self._sign_in()),
            ("supplies", self._supplies()),
            ("sample", self._sample()),
            ("refused", self._refused()),
            ("more", self._more()),
            ("help", self._help()),
        )
        return Page(
            language=say.language,
            direction=say.direction,
            title=say("title", organisation=self.organisation),
            lead=say("lead", tenant=_code(tenant.name)),
            sections=tuple(Section(key, say(f"{key}.title"), tuple(blocks)) for key, blocks in sections),
            footer=say("footer", revision=_text(tenant.revision), digest=_code(tenant.digest)),
            frame={"skip": say("skip"), "contents": say("contents")},
        )

    def _glance(self) -> Iterator[Block]:
        say, spec = self.say, self.spec
        site = self.tenant.site
        recovery = spec.site.recovery if spec.site else None
        budget = say(
            "glance.sizes",
            cpu=self._cores(spec.budget.cpu),
            memory=_text(_bytes(spec.budget.memory)),
            storage=_text(_bytes(spec.budget.storage)),
        )
        rows: list[tuple[str, Sentence]] = [
            ("tenant", (_code(self.tenant.name),)),
            ("organisation", (self.organisation,)),
            ("purpose", (_text(self._own(spec.purpose.en, spec.purpose.ur)),)),
            ("class", (_code(spec.classification),)),
            ("personal", self._yes(spec.personal_data)),
            ("critical", self._yes(spec.critical_infrastructure)),
            ("isolation", (_code(spec.isolation),)),
            ("site", self._site(site.metadata.name, site.spec.location.city) if site else say("word.none")),
            ("recovery", (_code(recovery),) if recovery else say("word.none")),
            ("budget", budget),
            ("review", (_text(spec.review_after),) if spec.review_after else say("word.none")),
        ]
        yield Table(
            say("glance.caption"),
            (say("glance.what"), say("glance.value")),
            tuple((say(f"glance.{key}"), value) for key, value in rows),
        )

    def _site(self, name: str, city: str) -> Sentence:
        return (_code(name), " (", _text(city), ")")

    def _class(self) -> Iterator[Block]:
        say, spec = self.say, self.spec
        rule = FLOOR[spec.classification]
        approvals = self.tenant.settings.approvals_for(spec.classification)
        yield Paragraph(say("class.says", **{"class": _code(spec.classification)}))
        items = [
            say(f"class.{spec.classification}"),
            say("class.kept-anywhere" if "public-cloud" in rule.site_kinds else "class.kept-government"),
            say(f"class.exposure-{rule.exposure}"),
            say(f"class.isolation-{spec.isolation}"),
            say("class.approval" if approvals == 1 else "class.approvals", number=_text(approvals)),
        ]
        items += [say("class.personal")] if spec.personal_data else []
        items += [say("class.critical")] if spec.critical_infrastructure else []
        yield Items(tuple(items))

    def _environments(self) -> Iterator[Block]:
        say = self.say
        yield Paragraph(say("environments.text"))
        columns = ("namespace", "tier", "cpu", "memory", "storage", "pods")
        rows = tuple(
            (
                (_code(self.tenant.namespace(environment)),),
                say(f"environments.tier-{environment.tier}"),
                self._cores(environment.quota.cpu),
                (_text(_bytes(environment.quota.memory)),),
                (_text(_bytes(environment.quota.storage)),),
                (_text(environment.quota.pods),),
            )
            for environment in self.spec.environments
        )
        yield Table(say("environments.caption"), tuple(say(f"environments.{column}") for column in columns), rows)
        for environment in self.spec.environments:
            yield from self._environment(environment)

    def _environment(self, environment: Environment) -> Iterator[Block]:
        say = self.say
        namespace = _code(self.tenant.namespace(environment))
        yield Heading(say("environments.heading", namespace=namespace))
        domains, networks = say.joined(map(_code, environment.domains)), say.joined(map(_code, environment.allow_from))
        items = [
            say("environments.domains", domains=domains) if environment.domains else say("environments.domains-none"),
            say(f"environments.exposure-{environment.exposure}"),
            say("environments.from", networks=networks) if environment.allow_from else say("environments.from-none"),
            say("environments.inside"),
        ]
        items += [] if environment.egress else [say("environments.egress-none")]
        yield Items(tuple(items))
        if environment.egress:
            yield Table(
                say("environments.egress-caption", namespace=namespace),
                tuple(say(f"environments.egress-{column}") for column in ("to", "ports", "reason")),
                tuple(((_code(e.to),), self._ports(e.ports), (_text(e.reason),)) for e in environment.egress),
            )

    def _ports(self, ports: tuple[Port, ...]) -> Sentence:
        return self.say.joined(map(_code, ports))

    def _people(self) -> Iterator[Block]:
        say = self.say
        yield Paragraph(say("people.text"))
        yield Table(
            say("people.caption"),
            (say("people.role"), say("people.may"), say("people.groups")),
            tuple(
                (say(f"people.{role}"), say(f"people.{role}-may"), say.joined(map(_code, groups)))
                for role in ("admins", "developers", "auditors")
                if (groups := getattr(self.spec.access, role))
            ),
        )

    @property
    def _file(self) -> str:
        return f"{self.tenant.name}.kubeconfig"

    def _sign_in(self) -> Iterator[Block]:
        say, sign_in = self.say, self.tenant.settings.sign_in
        if sign_in:
            yield Paragraph(say("signin.install", url=Value(KUBELOGIN, "url")))
            yield Code(say("signin.install-label"), "kubectl krew install oidc-login", "sh")
        yield Paragraph(say("signin.file", file=_code(self._file)))
        made = f"gcloud-pk tenant kubeconfig {self.tenant.name} -o {self._file}"
        yield Code(say("signin.file-label"), made, "sh")
        if sign_in:
            yield Paragraph(say("signin.use", issuer=_code(sign_in.issuer), organisation=self.organisation))
        else:
            yield Paragraph(say("signin.use-plain", organisation=self.organisation))
        look = f"kubectl --kubeconfig {self._file} --context {self.tenant.namespace(self.first)} get pods"
        yield Code(say("signin.use-label"), look, "sh")
        contexts = say.joined(_code(self.tenant.namespace(e)) for e in self.spec.environments)
        yield Paragraph(say("signin.contexts", contexts=contexts))
        yield Paragraph(say("signin.share"))

    def _supplies(self) -> Iterator[Block]:
        say, spec = self.say, self.spec
        yield Paragraph(say("supplies.images", registries=say.joined(map(_code, spec.registries))))
        if spec.storage_classes:
            yield Paragraph(say("supplies.storage", classes=say.joined(map(_code, spec.storage_classes))))
        else:
            yield Paragraph(say("supplies.storage-none"))

    def _sample(self) -> Iterator[Block]:
        import yaml

        say, first = self.say, self.first
        namespace = _code(self.tenant.namespace(first))
        yield Paragraph(say("sample.text", namespace=namespace, image=_code(sample.image(self.tenant))))
        if first.domains:
            yield Paragraph(say("sample.tls", domain=_code(first.domains[0]), secret=_code(sample.TLS_SECRET)))
        made = yaml.safe_dump_all(sample.workload(self.tenant, first), sort_keys=False, width=1_000).strip()
        yield Code(say("sample.label", file=_code(SAMPLE_FILE)), made, "yaml")
        kubectl = f"kubectl --kubeconfig {self._file} --context {self.tenant.namespace(first)}"
        yield Code(
            say("sample.apply-label"),
            f"{kubectl} apply -f {SAMPLE_FILE}\n{kubectl} rollout status deployment/{sample.NAME}",
            "sh",
        )

    def _refused(self) -> Iterator[Block]:
        say = self.say
        yield Paragraph(say("refused.text"))
        yield Table(
            say("refused.caption"),
            (say("refused.rule"), say("refused.what"), say("refused.instead")),
            tuple(
                ((_code(rule),), say(f"refused.rules.{rule}.what"), say(f"refused.rules.{rule}.instead"))
                for rule in say.below("refused.rules")
            ),
        )

    def _more(self) -> Iterator[Block]:
        say, name = self.say, self.tenant.name
        yield Paragraph(say("more.text"))
        number = _text(self.tenant.revision + 1)
        yield Items(
            (
                say("more.edit", field=_code("metadata.revision"), number=number),
                say("more.check"),
                say("more.then"),
            ),
            ordered=True,
        )
        commands = (
            f"cp registry/tenants/{name}/history/{self.tenant.digest}/request.yaml {name}.yaml",
            f"gcloud-pk request validate {name}.yaml",
            f"gcloud-pk request submit {name}.yaml",
            f"gcloud-pk request diff {name}",
        )
        yield Code(say("more.label"), "\n".join(commands), "sh")

    def _help(self) -> Iterator[Block]:
        say, contacts, platform = self.say, self.spec.contacts, self.tenant.settings.contact
        if platform is None:
            yield Paragraph(say("help.none"))
        people: list[tuple[str, Person]] = [("owner", contacts.owner)]
        people += [("technical", person) for person in contacts.technical]
        rows = [self._contact(role, person.name, person.email, person.phone, None) for role, person in people]
        if platform:
            rows.insert(0, self._contact("platform", platform.name, platform.email, platform.phone, platform.hours))
        columns = ("who", "name", "email", "phone", "hours")
        yield Table(say("help.caption"), tuple(say(f"help.{column}") for column in columns), tuple(rows))
        review = self.spec.review_after
        yield Paragraph(say("help.review", date=_text(review)) if review else say("help.review-none"))

    def _contact(self, role: str, name: str, email: str, phone: str | None, hours: str | None) -> tuple[Sentence, ...]:
        return (
            self.say(f"help.{role}"),
            (_text(name),),
            (Value(email, "email"),),
            (_text(phone),) if phone else self.say("word.none"),
            (_text(hours),) if hours else self.say("word.none"),
        )

    def _cores(self, quantity: Quantity) -> Sentence:
        number = _text(_decimal(quantity.value))
        return self.say("word.core" if quantity.value == 1 else "word.cores", number=number)

    def _yes(self, value: bool) -> Sentence:
        return self.say("word.yes" if value else "word.no")


def _bytes(quantity: Quantity) -> str:
    """Return an amount with people's units: the largest in which it is a short number."""
    if quantity.binary:
        for power, unit in reversed(list(enumerate(_UNITS.values(), 1))):
            if (count := quantity.value / 1024**power) >= 1 and (count * 100).denominator == 1:
                return f"{_decimal(count)} {unit}"
    number, suffix = re.fullmatch(r"(\d+)(\D*)", str(quantity)).groups()  # type: ignore[union-attr]  # canonical form
    return f"{number} {_UNITS.get(suffix, f'{suffix}B')}"


def _decimal(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.3f}".rstrip("0")

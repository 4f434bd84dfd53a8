"""The page that a ministry gets: complete, in both languages, accessible, and safe whatever a request says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.tenants import a_tenant

from gcloud_pk import paths
from gcloud_pk.model.organisation import Organisation
from gcloud_pk.model.settings import Settings
from gcloud_pk.model.site import Site
from gcloud_pk.model.tenant import Tenant
from gcloud_pk.render import sample
from gcloud_pk.render.catalogue import catalogue
from gcloud_pk.render.page import markdown
from gcloud_pk.render.welcome import LANGUAGES, Language, welcome

PROD: dict[str, Any] = {
    "name": "eoffice-prod",
    "tier": "production",
    "quota": {"cpu": "16", "memory": "32Gi", "storage": "1.5Ti", "pods": 100},
    "domains": ["eoffice.moitt.gov.pk"],
    "exposure": "government",
    "allowFrom": ["10.8.0.0/16"],
    "egress": [
        {"to": "10.20.0.0/16", "ports": [{"port": 5432}, {"port": 53, "protocol": "UDP"}], "reason": "database servers"}
    ],
}
STAGING: dict[str, Any] = {
    "name": "eoffice-staging",
    "tier": "staging",
    "quota": {"cpu": "500m", "memory": "2G", "storage": "100Gi", "pods": 50},
    "domains": ["eoffice-staging.moitt.gov.pk"],
}
ORGANISATION = {"code": "MOITT", "name": {"en": "Ministry of IT", "ur": "وزارتِ آئی ٹی"}, "tier": "federal"}
SETTINGS = {
    "signIn": {"issuer": "https://id.gov.example/realms/gov", "clientId": "gcloud"},
    "contact": {"name": "Service desk", "email": "help@cloud.example", "phone": "051 111", "hours": "08:00-16:00"},
}
SITE = {
    "apiVersion": "gcloud.gov.pk/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "isb-1"},
    "spec": {
        "operator": "NTC",
        "location": {"city": "Islamabad", "province": "ict", "kind": "government"},
        "admits": ["restricted"],
        "clusters": [{"name": "isb-1-a"}],
    },
}


def whole(*, environments: Sequence[dict[str, Any]] = (PROD, STAGING), **spec: Any) -> Tenant:
    """Return a tenant that has something of everything."""
    made = a_tenant(
        "moitt",
        environments,
        **{
            "purpose": {"en": "E-Office for all wings", "ur": "تمام شعبوں کے لیے ای آفس"},
            "personalData": True,
            "criticalInfrastructure": True,
            "site": {"primary": "isb-1", "recovery": "lhe-1"},
            "storageClasses": ["encrypted"],
            "reviewAfter": "2027-06-30",
            **spec,
        },
    )
    return replace(
        made,
        organisation=Organisation.model_validate({**ORGANISATION, "domains": ["moitt.gov.pk"]}),
        settings=Settings.model_validate(SETTINGS),
        site=Site.model_validate(SITE),
    )


HOSTILE = "</td><script>alert(1)</script> **x** [a](http://evil.example) | # `b` <img src=x>"


def hostile() -> Tenant:
    """Return a tenant whose texts try to become markup."""
    flow = {**PROD["egress"][0], "reason": f"# {HOSTILE}\n\n## second"}
    made = whole(
        purpose={"en": HOSTILE, "ur": HOSTILE},
        environments=[{**PROD, "egress": [flow]}],
        contacts={
            "owner": {"name": HOSTILE, "email": "js@moitt.gov.pk", "phone": '"><b>'},
            "technical": [{"name": "1. x", "email": "dd@moitt.gov.pk"}],
        },
    )
    name = {"en": HOSTILE, "ur": HOSTILE}
    return replace(
        made, organisation=made.organisation.model_copy(update={"name": type(made.organisation.name)(**name)})
    )


TENANTS = {"least": a_tenant, "whole": whole, "hostile": hostile}
PAGES = [(name, language) for name in TENANTS for language in LANGUAGES]


# --- the texts --------------------------------------------------------------------------------------------------------


def texts(language: str) -> dict[str, str]:
    return catalogue("welcome", language).texts


def test_both_languages_say_the_same_things_about_the_same_values() -> None:
    def fields(text: str) -> list[str]:
        return sorted(re.findall(r"\{(\w+)\}", text))

    english, urdu = texts("en"), texts("ur")
    assert list(english) == list(urdu)
    assert {key: fields(text) for key, text in english.items()} == {key: fields(text) for key, text in urdu.items()}


# Names of programs, fields and kinds stay as they are typed.
LATIN = {
    "ClusterIP", "Deployment", "ExternalName", "Ingress", "LoadBalancer", "NodePort", "SHA", "Secret", "Service",
    "context", "describe", "kubectl", "kubelogin", "restricted", "root", "securityContext", "storageClassName",
    "toleration",
}  # fmt: skip


def test_the_urdu_is_urdu_with_its_own_letters_and_punctuation() -> None:
    for key, text in texts("ur").items():
        assert set(re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", "", text))) <= LATIN, key
        assert re.search(r"[\u0600-\u06ff]", text), key
        assert not re.search(r"[\u0600-\u06ff][,;?]", text), (key, "an English comma after an Urdu word")
        assert not re.search(r"[\u064a\u0643]", text), (key, "an Arabic letter in place of the Urdu one")


VARIANTS: list[dict[str, Any]] = [
    {"classification": kind, "isolation": isolation, "environments": environments}
    for kind in ("open", "public", "restricted", "confidential", "secret")
    for isolation in ("namespace", "dedicated-nodes", "dedicated-cluster")
    for environments in (
        [PROD, STAGING],
        [{**STAGING, "tier": "development", "exposure": "internet"}, {**STAGING, "name": "x", "tier": "sandbox"}],
        [{**STAGING, "quota": {**STAGING["quota"], "cpu": "1"}}],
    )
]


def test_every_text_is_used() -> None:
    shown = "".join(welcome(make(**more), "en") for make in (a_tenant, whole) for more in VARIANTS)
    strict = replace(whole(), settings=Settings.model_validate({"approvals": {"restricted": 3}}))
    shown = (shown + welcome(a_tenant(), "en") + welcome(strict, "en", as_html=True)).replace("\\", "")
    unused = [
        key
        for key, text in texts("en").items()
        if max(re.split(r"\{\w+\}", text), key=len).strip() not in shown
        # No class of the federal floor is closed to the government's network.
        and key != "class.exposure-internal"
    ]
    assert unused == []


@pytest.mark.parametrize("rule", catalogue("welcome", "en").below("refused.rules"))
def test_every_rule_that_the_page_explains_is_one(rule: str) -> None:
    policies = "".join(path.read_text() for path in paths.data("policies", "admission").glob("*/policy.yaml"))
    assert f"[{rule}]" in policies or rule in {"PodSecurity", "quota"}


# --- what it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("as_html", [False, True])
def test_it_has_all_that_a_ministry_needs(language: Language, as_html: bool) -> None:
    page = welcome(whole(), language, as_html=as_html)
    for words in (
        "moitt-eoffice-prod", "moitt-eoffice-staging", "32 GiB", "1.5 TiB", "2 GB", "0.5", "eoffice.moitt.gov.pk",
        "10.8.0.0/16", "10.20.0.0/16", "TCP 5432", "UDP 53", "database servers", "registry.gcloud.gov.pk/moitt/",
        "encrypted", "moitt-admins", "moitt-developers", "isb-1", "Islamabad", "lhe-1", "2027-06-30",
        "https://id.gov.example/realms/gov", "kubectl krew install oidc-login", "github.com/int128/kubelogin",
        "gcloud-pk tenant kubeconfig moitt -o moitt.kubeconfig", "kind: Deployment", "kind: Ingress",
        "GPK-IMG-01", "gcloud-pk request diff moitt", "Service desk", "help@cloud.example", "051 111", "08:00-16:00",
        "js@moitt.gov.pk", "0" * 64,
    ):  # fmt: skip
        assert words in page, words
    own = "وزارتِ آئی ٹی" if language == "ur" else "Ministry of IT"
    assert own in page
    assert ("تمام شعبوں کے لیے ای آفس" if language == "ur" else "E-Office for all wings") in page


def test_an_organisation_without_an_urdu_name_is_called_by_its_english_one() -> None:
    assert "حکومتی کلاؤڈ پر <bdi>MoITT</bdi>" in welcome(a_tenant(), "ur")


def test_the_same_tenant_gives_the_same_bytes() -> None:
    assert welcome(whole(), "ur", as_html=True) == welcome(whole(), "ur", as_html=True)


@pytest.mark.parametrize("name", TENANTS)
def test_the_sample_is_one_block_that_can_be_saved_and_applied(name: str) -> None:
    tenant = TENANTS[name]()
    (block,) = re.findall(r"^```yaml\n(.*?)^```", welcome(tenant, "en"), re.MULTILINE | re.DOTALL)
    calmest = tenant.request.spec.environments[-1]
    documents = list(yaml.safe_load_all(block))
    assert documents == sample.workload(tenant, calmest)
    assert {d["metadata"]["namespace"] for d in documents} == {tenant.namespace(calmest)}
    assert (len(documents) == 3) == bool(calmest.domains)


@pytest.mark.parametrize(
    ("quota", "replicas", "limits"),
    [
        ({"cpu": "4", "memory": "8Gi", "storage": "1Gi", "pods": 20}, 2, {"cpu": "500m", "memory": "256Mi"}),
        ({"cpu": "4", "memory": "8Gi", "storage": "1Gi", "pods": 2}, 1, {"cpu": "500m", "memory": "256Mi"}),
        ({"cpu": "300m", "memory": "8Gi", "storage": "1Gi", "pods": 20}, 1, {"cpu": "150m", "memory": "256Mi"}),
        ({"cpu": "4", "memory": "64Mi", "storage": "1Gi", "pods": 20}, 1, {"cpu": "500m", "memory": "32Mi"}),
    ],
)
def test_the_sample_fits_the_quota_with_room_for_its_next_version(
    quota: dict[str, Any], replicas: int, limits: dict[str, str]
) -> None:
    tenant = a_tenant("moitt", [{"name": "dev", "tier": "development", "quota": quota}])
    deployment = sample.workload(tenant, tenant.request.spec.environments[0])[0]["spec"]
    assert deployment["replicas"] == replicas
    assert deployment["template"]["spec"]["containers"][0]["resources"]["limits"] == limits


def test_the_sample_runs_on_the_tenants_own_nodes_where_it_has_some() -> None:
    tenant = a_tenant(isolation="dedicated-nodes")
    pod = sample.workload(tenant, tenant.request.spec.environments[0])[0]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"gcloud.gov.pk/tenant": "moitt"}
    assert pod["tolerations"] == [{"key": "gcloud.gov.pk/tenant", "operator": "Equal", "value": "moitt"}]


def test_the_sample_takes_its_image_from_the_tenants_own_path() -> None:
    paths_ = ["registry.gcloud.gov.pk/base/", "registry.gcloud.gov.pk/moitt/"]
    assert sample.image(a_tenant(registries=paths_)) == "registry.gcloud.gov.pk/moitt/hello:1.0"
    assert sample.image(a_tenant(registries=paths_[:1])) == "registry.gcloud.gov.pk/base/hello:1.0"


# --- Markdown ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_text_of_a_request_cannot_become_markup_in_markdown(language: Language) -> None:
    page = re.sub(r"^```\w+\n.*?^```", "", welcome(hostile(), language), flags=re.MULTILINE | re.DOTALL)
    assert "script" in page
    assert not re.search(r"(?<!\\)<(script|img|b>|/td)", page)
    assert not re.search(r"(?<!\\)\]\(", page)
    assert "## second" not in re.findall(r"^#+ .*$", page, re.MULTILINE)
    assert len(re.findall(r"^## ", page, re.MULTILINE)) == 10
    for block in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        columns = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
        assert len(columns) == 1, block


def test_markdown_in_urdu_is_marked_as_such_and_its_code_runs_from_left_to_right() -> None:
    page = welcome(whole(), "ur")
    assert page.startswith('<div lang="ur" dir="rtl">\n\n#')
    assert page.count("<div") == page.count("</div>")
    assert page.count("```") == 2 * page.count('<div lang="en" dir="ltr">\n\n```')
    assert '<bdi dir="ltr">`moitt-eoffice-prod`</bdi>' in page


def test_values_at_the_beginning_of_a_line_begin_no_list_or_heading() -> None:
    page = markdown.__globals__["_markdown_text"]
    for text, shown in {
        "# a": "\\# a", "1. a": "1\\. a", "1) a": "1\\) a", "- a": "\\- a", "+ a": "\\+ a", "--- a": "\\--- a",
        "2.5 cores": "2.5 cores", "-": "\\-", "a\nb": "a b", "10.0.0.0/8": "10.0.0.0/8",
    }.items():  # fmt: skip
        assert page(text) == shown


# --- HTML: WCAG 2.2 AA, as far as a parser can see it -----------------------------------------------------------------

VOID = {"meta", "link", "br", "hr", "img", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    parent: Element | None
    children: list[Element]
    text: str = ""

    def all(self, *tags: str) -> Iterator[Element]:
        for child in self.children:
            if child.tag in tags or not tags:
                yield child
            yield from child.all(*tags)

    @property
    def words(self) -> str:
        return (self.text + " ".join(child.words for child in self.children)).strip()


class Tree(HTMLParser):
    """Builds the tree and demands that every element is closed where it was opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = self.at = Element("", {}, None, [])
        self.doctype = ""

    def handle_decl(self, decl: str) -> None:
        self.doctype = decl

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> says {names}"
        made = Element(tag, {name: value or "" for name, value in attrs}, self.at, [])
        self.at.children.append(made)
        if tag not in VOID:
            self.at = made

    def handle_endtag(self, tag: str) -> None:
        assert self.at.tag == tag, f"</{tag}> closes <{self.at.tag}>"
        assert self.at.parent is not None
        self.at = self.at.parent

    def handle_data(self, data: str) -> None:
        self.at.text += data


def tree(name: str, language: Language) -> Element:
    parser = Tree()
    parser.feed(welcome(TENANTS[name](), language, as_html=True))
    parser.close()
    assert parser.at is parser.root
    assert parser.doctype == "doctype html"
    return parser.root


@pytest.fixture(params=PAGES, ids="-".join)
def page(request: pytest.FixtureRequest) -> Element:
    return tree(*request.param)


@pytest.mark.parametrize(("name", "language"), PAGES)
def test_it_says_its_language_and_direction(name: str, language: Language) -> None:
    (root,) = tree(name, language).all("html")
    assert root.attributes == {"lang": language, "dir": "rtl" if language == "ur" else "ltr"}


def test_it_has_one_heading_of_the_first_order_and_skips_none(page: Element) -> None:
    orders = [int(element.tag[1]) for element in page.all("h1", "h2", "h3", "h4", "h5", "h6")]
    assert orders.count(1) == 1
    assert orders[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(orders))
    assert all(heading.words for heading in page.all("h1", "h2", "h3"))


def test_it_has_landmarks_each_named_where_there_are_several(page: Element) -> None:
    for tag in ("header", "nav", "main", "footer"):
        assert len(list(page.all(tag))) == 1, tag
    (body,) = page.all("body")
    assert {child.tag for child in body.children} == {"a", "header", "nav", "main", "footer"}
    ids = identifiers(page)
    for section in page.all("section"):
        assert ids[section.attributes["aria-labelledby"]].tag == "h2"


def identifiers(page: Element) -> dict[str, Element]:
    found = [(element.attributes["id"], element) for element in page.all() if "id" in element.attributes]
    assert len(found) == len(dict(found)), "an id stands twice"
    return dict(found)


def test_the_first_link_skips_to_the_content_and_every_link_inside_leads_somewhere(page: Element) -> None:
    ids = identifiers(page)
    links = list(page.all("a"))
    assert links[0].attributes["class"] == "skip"
    assert ids[links[0].attributes["href"][1:]].tag == "main"
    assert ids["content"].attributes["tabindex"] == "-1"
    for link in links:
        target = link.attributes["href"]
        assert target[1:] in ids if target.startswith("#") else re.match(r"https://|mailto:", target)
        assert link.words
    for element in page.all():
        for name in ("aria-labelledby", "aria-describedby"):
            assert element.attributes.get(name, "content") in ids


def test_every_table_has_a_caption_and_heads_with_a_scope(page: Element) -> None:
    tables = list(page.all("table"))
    assert len(tables) >= 5
    for table in tables:
        assert table.children[0].tag == "caption"
        assert table.children[0].words
        heads, rows = list(next(table.all("thead")).all("th")), list(next(table.all("tbody")).all("tr"))
        assert {head.attributes.get("scope") for head in heads} == {"col"}
        assert all(head.words for head in heads)
        assert rows
        for row in rows:
            assert row.children[0].tag == "th"
            assert row.children[0].attributes["scope"] == "row"
            assert len(row.children) == len(heads)


def test_what_may_be_wider_than_the_page_can_be_scrolled_with_the_keyboard(page: Element) -> None:
    for element in page.all("pre", "table"):
        scrolls = element if element.tag == "pre" else element.parent
        assert scrolls is not None
        assert (scrolls.attributes["tabindex"], scrolls.attributes["role"]) == ("0", "region")
        assert scrolls.attributes["aria-labelledby"]


def test_code_runs_from_left_to_right_and_values_are_isolated(page: Element) -> None:
    assert all(element.attributes.get("dir") == "ltr" for element in page.all("pre"))
    for element in page.all("code"):
        assert element.attributes.get("dir") == "ltr" or (element.parent and element.parent.tag == "pre")
    for link in page.all("a"):
        assert link.attributes.get("dir") == "ltr" or link.attributes["href"].startswith("#")


def test_words_of_another_language_say_so() -> None:
    urdu = tree("whole", "ur")
    marked = {element.words: element.attributes.get("lang") for element in urdu.all("bdi")}
    assert marked["database servers"] == "en"
    assert marked["وزارتِ آئی ٹی"] is None
    assert marked["16"] is None


def test_it_loads_nothing_and_runs_nothing(page: Element) -> None:
    assert {e.tag for e in page.all()}.isdisjoint(
        {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    )
    assert not any(name.startswith("on") or name == "src" for e in page.all() for name in e.attributes)
    (style,) = page.all("style")
    assert "url(" not in style.text
    assert "@import" not in style.text
    policies = [m.attributes["content"] for m in page.all("meta") if m.attributes.get("http-equiv")]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_text_of_a_request_cannot_become_markup_in_html() -> None:
    for language in LANGUAGES:
        hostile_page = tree("hostile", language)
        assert HOSTILE.split("`", maxsplit=1)[0] in " ".join(e.text for e in hostile_page.all("bdi"))
        assert not list(hostile_page.all("b"))


def schemes() -> dict[str, dict[str, str]]:
    style = next(tree("least", "en").all("style")).text
    found = [
        dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    ]
    light, dark, print_ = found
    return {"light": light, "dark": light | dark, "print": light | print_}


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Contrast ratio by WCAG 2.2."""
    brighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_its_colours_have_enough_contrast(scheme: str) -> None:
    assert contrast("#ffffff", "#767676") == pytest.approx(4.54, abs=0.01)
    colours = schemes()[scheme]
    for text in ("text", "link"):
        for ground in ("page", "soft"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    for line in ("line", "focus"):
        assert contrast(colours[line], colours["page"]) >= 3, line


def test_it_follows_the_readers_settings_shows_the_focus_and_prints_well() -> None:
    style = next(tree("least", "en").all("style")).text
    assert "@media (prefers-color-scheme: dark)" in style
    assert re.search(r":focus-visible \{[^}]*outline: 3px solid", style)
    assert "outline: none" not in style
    printed = style[style.index("@media print") :]
    assert "nav, .skip { display: none; }" in printed
    assert "white-space: pre-wrap" in printed
    # No physical side but where code needs one: the page must stand in both directions.
    assert not re.search(r"(margin|padding|border)-(left|right)|float:", style)


def test_the_templates_are_data_of_the_package() -> None:
    folder = paths.package("render", "templates")
    assert {path.name for path in Path(folder).iterdir()} == {
        "page.html.j2", "page.md.j2", "welcome.en.yaml", "welcome.ur.yaml",
    }  # fmt: skip

"""The catalogue: what its data promises, who follows whom, and what an alias may do."""

from __future__ import annotations

import ast
import copy
import dataclasses
import itertools
import json
import pickle
import subprocess
import sys
from collections.abc import Mapping
from datetime import date, timedelta
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_cerebras_demo import catalog
from langchain_cerebras_demo.cache_folder import save_models
from langchain_cerebras_demo.catalog import (
    BUILT_IN_ALIASES,
    DEFAULT_MODEL,
    AliasTable,
    ModelSpec,
    Price,
    ReasoningSpec,
    find_spec,
    live_replacement,
    model_specs,
    nearest_ids,
    retirement_message,
)

TODAY = date(2026, 11, 23)
LIVE = ("gpt-oss-120b", "qwen-3.8-27b", "kimi-k2.7-code")
FIRST_FOUR = ("llama3.1-70b", "llama3.1-8b", "llama-3.3-70b", "deepseek-r1-distill-llama-70b")

# id, the first day without it, what to use today
RETIRED = [
    ("gemma-4-31b", "2026-09-03", "qwen-3.8-27b"),
    ("zai-glm-4.7", "2026-08-17", "qwen-3.8-27b"),
    ("llama3.1-8b", "2026-05-27", "gpt-oss-120b"),
    ("qwen-3-235b-a22b-instruct-2507", "2026-05-27", "gpt-oss-120b"),
    ("llama-3.3-70b", "2026-02-16", "gpt-oss-120b"),
    ("qwen-3-32b", "2026-02-16", "gpt-oss-120b"),
    ("zai-glm-4.6", "2026-01-20", "qwen-3.8-27b"),
    ("qwen-3-235b-a22b-thinking-2507", "2025-11-14", "gpt-oss-120b"),
    ("qwen-3-coder-480b", "2025-11-05", "qwen-3.8-27b"),
    ("llama-4-scout-17b-16e-instruct", "2025-11-03", "gpt-oss-120b"),
    ("llama-4-maverick-17b-128e-instruct", "2025-10-15", "gpt-oss-120b"),
    ("deepseek-r1-distill-llama-70b", "2025-08-12", "gpt-oss-120b"),
    ("qwen-3-235b-a22b", "2025-07-29", "gpt-oss-120b"),
    ("llama3.1-70b", "2025-01-17", "gpt-oss-120b"),
]

ROOT = Path(catalog.__file__).parents[1]

good_names = st.text(min_size=1).filter(lambda text: text == text.strip() and text.isprintable())


def with_rows(monkeypatch: pytest.MonkeyPatch, *rows: ModelSpec) -> None:
    specs = MappingProxyType({row.id: row for row in rows})
    monkeypatch.setattr(catalog, "model_specs", lambda: specs)


def a_row(model_id: str, **changes: object) -> ModelSpec:
    return dataclasses.replace(model_specs()[DEFAULT_MODEL], id=model_id, **changes)


class TestData:
    def test_the_rows_are_exactly_the_models_that_are_known(self):
        """Two live models, one in trials, fourteen retired ones, and nothing else."""
        assert set(model_specs()) == {*LIVE, *(row[0] for row in RETIRED)}

    def test_every_id_stands_once_in_the_file(self):
        """A doubled id would silently lose its first row."""
        rows = json.loads(resources.files("langchain_cerebras_demo.data").joinpath("models.json").read_bytes())
        ids = [row["id"] for row in rows]
        assert len(ids) == len(set(ids)) == len(model_specs())

    @pytest.mark.parametrize("model_id", FIRST_FOUR)
    def test_the_first_four_models_are_there(self, model_id):
        """The four ids that the package has always named keep their rows."""
        assert find_spec(model_id).id == model_id

    def test_the_default_model_is_live(self):
        """Who names no model gets one that answers."""
        assert find_spec(DEFAULT_MODEL).life(TODAY) == "live"

    @pytest.mark.parametrize("spec", model_specs().values(), ids=list(model_specs()))
    def test_a_row_is_consistent(self, spec):
        """Limits, dates, names and switches of each row fit together."""
        assert spec.replacement is None or spec.replacement in model_specs()
        assert (spec.retired_on is None) == (spec.replacement is None)
        dates = [day for day in (spec.released, spec.deprecated_on, spec.retired_on) if day]
        assert dates == sorted(dates)
        assert spec.fact_date <= TODAY
        for floor, ceiling in (
            (spec.context_window_tokens, spec.context_window_max_tokens),
            (spec.max_output_tokens, spec.max_output_max_tokens),
            (spec.max_output_tokens, spec.context_window_tokens),
        ):
            assert floor is None or ceiling is None or 0 < floor <= ceiling
        assert spec.inputs in {("text",), ("text", "image")}
        assert spec.source

    @pytest.mark.parametrize("spec", model_specs().values(), ids=list(model_specs()))
    def test_reasoning_of_a_row_is_consistent(self, spec):
        """The default is one of the efforts, and the words are the API's."""
        if (reasoning := spec.reasoning) is None:
            return
        assert reasoning.replay in {"reasoning", "think_tags", None}
        assert reasoning.closing_tag_only in {True, False, None}
        assert set(reasoning.efforts) <= {"none", "low", "medium", "high"}
        assert set(reasoning.refused_formats) <= {"raw", "hidden"}
        assert reasoning.default_effort is None or reasoning.default_effort in reasoning.efforts

    def test_cost_is_an_estimate_where_the_price_is_known(self):
        """US dollars at list price; nothing for a model without one."""
        assert find_spec("gpt-oss-120b").cost_usd(1_000_000, 2_000_000) == pytest.approx(0.35 + 2 * 0.75)
        assert find_spec("qwen-3-235b-a22b").cost_usd(1_000_000, 2_000_000) is None

    def test_the_default_models_row_says_what_the_service_documents(self):
        """One row in full, so that a slip in reading the file shows."""
        spec = find_spec("gpt-oss-120b")
        assert (spec.context_window_tokens, spec.context_window_max_tokens) == (65_536, 131_000)
        assert (spec.max_output_tokens, spec.max_output_max_tokens) == (32_768, 40_000)
        assert (spec.tool_calling, spec.parallel_tool_calls, spec.structured_output) == (True, None, True)
        assert spec.response_format_with_tools is False
        assert spec.price_usd_per_million_tokens == Price(input=0.35, output=0.75)
        assert spec.reasoning == ReasoningSpec(
            efforts=("low", "medium", "high"),
            default_effort="medium",
            refused_formats=(),
            replay="reasoning",
            closing_tag_only=False,
        )

    def test_the_rows_cannot_be_changed(self):
        """What one caller reads, another cannot have altered."""
        with pytest.raises(TypeError):
            model_specs()["new"] = find_spec(DEFAULT_MODEL)
        with pytest.raises(dataclasses.FrozenInstanceError):
            find_spec(DEFAULT_MODEL).id = "other"
        assert hash(find_spec(DEFAULT_MODEL)) == hash(pickle.loads(pickle.dumps(find_spec(DEFAULT_MODEL))))

    @pytest.mark.parametrize("change", [{"released": "last spring"}, {"retired_on": "2026-13-01"}])
    def test_a_row_with_a_bad_date_is_refused(self, change):
        """Every date parses, or the row does not load."""
        with pytest.raises(ValueError):
            catalog.spec_from_row({**raw_row(), **change})

    def test_a_row_with_an_unknown_or_missing_field_is_refused(self):
        """A misspelt field is not swallowed."""
        with pytest.raises(TypeError, match="colour"):
            catalog.spec_from_row({**raw_row(), "colour": "blue"})
        with pytest.raises(TypeError, match="family"):
            catalog.spec_from_row({key: value for key, value in raw_row().items() if key != "family"})


def raw_row() -> dict[str, object]:
    rows = json.loads(resources.files("langchain_cerebras_demo.data").joinpath("models.json").read_bytes())
    return rows[0]


class TestLife:
    @pytest.mark.parametrize(
        ("today", "life"),
        [
            ("2026-04-21", "live"),
            ("2026-04-22", "deprecated"),
            ("2026-05-26", "deprecated"),
            ("2026-05-27", "retired"),
            ("2026-11-23", "retired"),
        ],
    )
    def test_a_model_goes_from_live_to_deprecated_to_retired(self, today, life):
        """Each day of change belongs to the later stage."""
        assert find_spec("llama3.1-8b").life(date.fromisoformat(today)) == life

    @pytest.mark.parametrize(("model_id", "retired_on", "replacement"), RETIRED)
    def test_every_retired_model_leads_to_a_live_one(self, model_id, retired_on, replacement):
        """Replacements are followed through other retired ones to a model that answers today."""
        assert find_spec(model_id).retired_on == date.fromisoformat(retired_on)
        assert live_replacement(model_id, TODAY) == replacement
        assert find_spec(replacement).life(TODAY) == "live"

    def test_the_replacement_is_the_one_of_that_day(self):
        """A replacement that was live then is the answer then."""
        assert live_replacement("qwen-3-coder-480b", date(2026, 2, 1)) == "zai-glm-4.7"
        assert live_replacement("llama3.1-8b", date(2026, 5, 1)) == "gpt-oss-120b"  # announced, still answers

    @pytest.mark.parametrize("model_id", [*LIVE, "my-org-endpoint", ""])
    def test_a_live_or_unknown_model_has_no_replacement(self, model_id):
        """Nothing is to be replaced, so there is no answer and no message."""
        assert live_replacement(model_id, TODAY) is None
        assert retirement_message(model_id, TODAY) is None

    def test_a_circle_of_replacements_ends(self, monkeypatch):
        """Wrong data gives no answer; it does not hang."""
        gone = {"retired_on": date(2026, 1, 1)}
        with_rows(monkeypatch, a_row("a", replacement="b", **gone), a_row("b", replacement="a", **gone))
        assert live_replacement("a", TODAY) is None
        assert retirement_message("a", TODAY) == (
            "The model 'a' was retired on 2026-01-01: list the models to choose another."
        )

    def test_a_dedicated_only_model_replaces_nothing(self, monkeypatch):
        """A model that shared endpoints do not serve is stepped over."""
        with_rows(
            monkeypatch,
            a_row("a", replacement="b", retired_on=date(2026, 1, 1)),
            a_row("b", replacement="c", dedicated_only=True),
            a_row("c"),
        )
        assert live_replacement("a", TODAY) == "c"

    def test_the_retirement_message_names_id_date_and_replacement(self):
        """The whole sentence, and none a day before."""
        assert retirement_message("llama3.1-8b", TODAY) == (
            "The model 'llama3.1-8b' was retired on 2026-05-27: use 'gpt-oss-120b' instead."
        )
        assert retirement_message("llama3.1-8b", date(2026, 5, 26)) is None

    def test_the_retirement_message_tells_of_dedicated_endpoints(self):
        """Who has a dedicated endpoint is not told that the model is gone everywhere."""
        assert retirement_message("gemma-4-31b", TODAY) == (
            "The model 'gemma-4-31b' was retired on 2026-09-03 (dedicated endpoints still serve it): "
            "use 'qwen-3.8-27b' instead."
        )

    def test_its_warning_is_a_user_warning(self):
        """Callers can silence it by its class alone."""
        with pytest.warns(catalog.RetiredModelWarning, match="retired"):
            raise_warning()
        assert issubclass(catalog.RetiredModelWarning, UserWarning)


def raise_warning() -> None:
    import warnings

    warnings.warn(retirement_message("llama3.1-8b", TODAY), catalog.RetiredModelWarning, stacklevel=1)


class TestNearestIds:
    @pytest.mark.parametrize(
        ("name", "first"),
        [
            ("gpt-oss-12b", "gpt-oss-120b"),
            ("GPT-OSS-120B", "gpt-oss-120b"),
            ("gpt-os", "gpt-oss"),
            ("openai/gpt-oss-120b", "gpt-oss-120b"),
            ("qwen3.8-27b", "qwen-3.8-27b"),
            ("qwen-3-32b", "gpt-oss-120b"),  # known and retired: its replacement comes first
            ("gemma-4-31b", "qwen-3.8-27b"),
        ],
    )
    def test_the_best_guess_comes_first(self, name, first):
        """A slip of the pen finds its model, a retired id its replacement."""
        assert nearest_ids(name, TODAY)[0] == first

    def test_a_name_like_nothing_has_no_neighbours(self):
        """A guess that helps nobody is left out."""
        assert nearest_ids("zzzzzzzz", TODAY) == ()

    def test_an_alias_of_a_retired_model_is_not_offered(self):
        """The nearest name of all would only lead to the next 404."""
        assert nearest_ids("glm-4.8", TODAY) == ()

    def test_three_are_enough(self, monkeypatch):
        """The replacement, which comes first, counts among them."""
        near = [a_row(f"model-{number}") for number in "2345"]
        with_rows(monkeypatch, a_row("model-1", retired_on=TODAY, replacement="other"), *near, a_row("other"))
        names = nearest_ids("model-1", TODAY)
        assert len(names) == 3
        assert names[0] == "other"

    @given(st.one_of(st.text(), st.sampled_from([*BUILT_IN_ALIASES, *model_specs()])))
    def test_only_names_that_work_are_offered(self, name):
        """At most three, all different, each a live id or an alias of one."""
        names = nearest_ids(name, TODAY)
        assert len(names) == len(set(names)) <= 3
        assert {AliasTable().resolve(near) for near in names} <= set(LIVE)

    def test_a_model_without_a_future_is_not_offered(self, monkeypatch):
        """Neither a deprecated nor a dedicated-only model is a good answer to a 404."""
        with_rows(
            monkeypatch,
            a_row("model-1", deprecated_on=TODAY - timedelta(days=1)),
            a_row("model-2", dedicated_only=True),
            a_row("model-3"),
        )
        assert nearest_ids("model", TODAY) == ("model-3",)


class TestHints:
    @pytest.mark.parametrize(
        ("model_id", "hint"),
        [
            ("zai-glm-4.7", "Use 'qwen-3.8-27b' instead."),
            ("gpt-oss-12b", "Known ids near 'gpt-oss-12b': gpt-oss-120b, gpt-oss."),
            ("gpt-oss-120b", "Served are qwen-3.8-27b, kimi-k2.7-code."),  # known as live, and archived an hour ago
            ("zzzzzzzz", "Served are gpt-oss-120b, qwen-3.8-27b, kimi-k2.7-code."),
        ],
    )
    def test_a_model_that_is_not_served_leads_to_its_successor_or_to_others(self, model_id, hint):
        """The model itself is never offered again, nor an alias of it."""
        assert catalog.unknown_model_hint(model_id, TODAY) == hint

    def test_there_is_no_hint_where_nothing_is_served(self, monkeypatch):
        """An empty sentence, not an empty list."""
        with_rows(monkeypatch, a_row("a", dedicated_only=True))
        assert catalog.unknown_model_hint("b", TODAY) == ""


LISTED = {
    "id": "new-1",
    "object": "model",
    "created": 1_767_744_000,
    "owned_by": "Somebody",
    "pricing": {"prompt": "0.00000225", "completion": "0.00000275"},
    "capabilities": {
        "tools": True,
        "structured_outputs": True,
        "parallel_tool_calls": False,
        "reasoning": True,
        "vision": True,
    },
    "limits": {"max_context_length": 131_072, "max_completion_tokens": 40_960},
    "deprecated": False,
    "preview": True,
}


class TestPublicList:
    def test_a_new_model_of_the_list_is_known(self):
        """With what the list says, and no more: it has no trial's figures and no efforts."""
        catalog.refresh([LISTED], TODAY)
        assert find_spec("new-1") == dataclasses.replace(
            find_spec("kimi-k2.7-code"),
            id="new-1",
            family="Somebody",
            context_window_max_tokens=131_072,
            max_output_max_tokens=40_960,
            parallel_tool_calls=False,
            structured_output=True,
            inputs=("text", "image"),
            price_usd_per_million_tokens=Price(2.25, 2.75),
            released=date(2026, 1, 7),
            preview=True,
            fact_date=TODAY,
            source="the service's public list (2026-11-23)",
            note=None,
        )

    def test_the_list_wins_over_a_row_and_keeps_what_it_does_not_say(self):
        """A retired model that is listed is served again; efforts and trial figures are the row's."""
        before = find_spec("zai-glm-4.7")
        catalog.refresh([{**LISTED, "id": "zai-glm-4.7", "limits": {"max_context_length": 32_000}}], TODAY)
        spec = find_spec("zai-glm-4.7")
        assert (spec.life(TODAY), spec.reasoning, spec.max_output_tokens) == ("live", before.reasoning, 40_960)
        assert (spec.context_window_tokens, spec.context_window_max_tokens) == (32_000, 32_000)
        assert live_replacement("zai-glm-4.7", TODAY) is None

    def test_what_the_list_does_not_name_is_no_longer_offered(self):
        """In hints and as a replacement; its row stays, for dedicated endpoints and for profiles."""
        catalog.refresh([LISTED], TODAY)
        assert find_spec("gpt-oss-120b").life(TODAY) == "live"
        assert live_replacement("llama3.1-8b", TODAY) is None
        assert catalog.unknown_model_hint("gpt-oss-120b", TODAY) == "Served are new-1."

    def test_a_list_without_a_model_changes_nothing(self):
        """The service has not stopped serving all of them."""
        catalog.refresh([{}], TODAY)
        assert live_replacement("llama3.1-8b", TODAY) == "gpt-oss-120b"

    def test_a_second_list_takes_the_place_of_the_first(self):
        """Lists are not added up."""
        catalog.refresh([LISTED], TODAY)
        catalog.refresh([{"id": "new-2"}], TODAY)
        assert find_spec("new-1") is None
        assert catalog.unknown_model_hint("zzzz", TODAY) == "Served are new-2."

    @pytest.mark.parametrize(
        ("retired_on", "says", "life"),
        [
            (None, False, "live"),
            (None, True, "deprecated"),
            (TODAY + timedelta(days=9), False, "deprecated"),
            (TODAY, False, "live"),
        ],
    )
    def test_an_end_that_is_announced_stays_announced(self, monkeypatch, retired_on, says, life):
        """The list flags what is deprecated and has no dates; a date in the past is disproved by it."""
        row = a_row("a", retired_on=retired_on)
        monkeypatch.setattr(catalog, "_built_in_specs", lambda: {"a": row})
        catalog.refresh([{"id": "a", "deprecated": says}], TODAY)
        assert find_spec("a").life(TODAY) == life
        assert find_spec("a").retired_on == (retired_on if life == "deprecated" else None)

    @pytest.mark.parametrize(
        "row",
        [
            5,
            {},
            {"id": 5},
            {"id": "a", "limits": 5, "capabilities": "x", "pricing": []},
            {"id": "a", "limits": {"max_context_length": "big", "max_completion_tokens": -1}, "created": "then"},
            {"id": "a", "pricing": {"prompt": "free", "completion": None}, "created": 1e30, "preview": "no"},
            {"id": "a", "capabilities": {"tools": "yes", "vision": None, "reasoning": 1}},
        ],
    )
    def test_a_row_of_another_form_is_passed_over_or_read_as_far_as_it_can_be(self, row):
        """A change of the list breaks no call."""
        catalog.refresh([row, LISTED], TODAY)
        assert find_spec("new-1").preview
        if (spec := find_spec("a")) is not None:
            assert dataclasses.replace(spec, fact_date=TODAY, source="x").tool_calling is None

    def test_a_saved_list_is_found_by_later_processes(self, tmp_path, monkeypatch):
        """In the cache folder, where it is newer than the package's own facts; a damaged one is ignored."""
        monkeypatch.setenv("CEREBRAS_DEMO_CACHE", str(tmp_path / "cache"))
        code = "from langchain_cerebras_demo import catalog\nprint('new-1' in catalog.model_specs())"

        def is_known():
            run = subprocess.run(
                [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60, cwd=ROOT
            )
            return run.stdout.strip() == "True"

        assert not is_known()
        save_models([LISTED], TODAY)
        assert is_known()
        save_models([LISTED], date(2026, 1, 1))
        assert not is_known()
        (saved,) = (tmp_path / "cache").iterdir()
        for damaged in ("", "[]", '{"day": "then", "rows": []}', '{"rows": []}', '{"day": 5, "rows": []}'):
            saved.write_text(damaged, encoding="utf-8")
            assert not is_known()


class TestAliasTable:
    @pytest.mark.parametrize(
        ("alias", "model_id"),
        [
            ("llama-3.1-70b", "llama3.1-70b"),
            ("llama-3.1-8b", "llama3.1-8b"),
            ("deepseek-r1", "deepseek-r1-distill-llama-70b"),
            ("gpt-oss", "gpt-oss-120b"),
            ("qwen-3.8", "qwen-3.8-27b"),
            ("gemma-4", "gemma-4-31b"),
            ("glm-4.7", "zai-glm-4.7"),
            ("glm-4.6", "zai-glm-4.6"),
        ],
    )
    def test_built_in_aliases(self, alias, model_id):
        """Each leads to a known model; a retired one is not followed any further."""
        assert AliasTable().resolve(alias) == model_id
        assert find_spec(model_id) is not None

    def test_no_built_in_alias_hides_a_model(self):
        """Every id of the catalogue resolves to itself in the built-in table."""
        assert not set(BUILT_IN_ALIASES) & set(model_specs())
        assert all(AliasTable().resolve(model_id) == model_id for model_id in model_specs())

    def test_the_users_aliases_win(self):
        """Over a built-in alias, and over the id of a known model."""
        table = AliasTable({"gpt-oss": "my-endpoint", "llama3.1-8b": "qwen-3.8-27b"})
        assert table.resolve("gpt-oss") == "my-endpoint"
        assert table.resolve("llama-3.1-8b") == "qwen-3.8-27b"
        assert table.resolve("deepseek-r1") == "deepseek-r1-distill-llama-70b"

    def test_chains_are_followed(self):
        """From the user's alias to the user's to a built-in one."""
        assert AliasTable({"fast": "cheap", "cheap": "gpt-oss"}).resolve("fast") == "gpt-oss-120b"

    def test_a_very_long_chain_is_followed(self):
        """Checking and following take a moment, not the square of the length, and no recursion."""
        chain = {f"a{step}": f"a{step + 1}" for step in range(100_000)}
        assert AliasTable(chain).resolve("a0") == "a100000"

    def test_an_alias_of_itself_switches_a_built_in_one_off(self):
        """For a dedicated endpoint that has the very name."""
        assert AliasTable({"gpt-oss": "gpt-oss"}).resolve("gpt-oss") == "gpt-oss"

    @pytest.mark.parametrize(
        ("aliases", "loop"),
        [
            ({"a": "b", "b": "a"}, "a -> b -> a"),
            ({"start": "a", "a": "b", "b": "c", "c": "a"}, "a -> b -> c -> a"),
            ({"llama3.1-8b": "llama-3.1-8b"}, "llama-3.1-8b -> llama3.1-8b -> llama-3.1-8b"),
        ],
    )
    def test_a_circle_is_refused_by_name(self, aliases, loop):
        """The message shows the loop without the way into it, built-in aliases included."""
        with pytest.raises(ValueError, match=f"circle: {loop}\\."):
            AliasTable(aliases)

    @pytest.mark.parametrize(
        "bad", ["", " ", "\t", " a", "a ", "a\nb", "a\r", "a\x00b", "a\x1b[0m", "a\u2028b", "\ud800"]
    )
    def test_a_name_that_no_model_can_have_is_refused(self, bad):
        """As an alias, as its target, as the model asked for, and in ``merged``; the message shows which."""
        with pytest.raises(ValueError, match=r"^The alias ") as caught:
            AliasTable({bad: "gpt-oss-120b"})
        assert repr(bad) in str(caught.value)
        with pytest.raises(ValueError, match=r"^The target of the alias 'mine' "):
            AliasTable({"mine": bad})
        with pytest.raises(ValueError, match=r"^The model "):
            AliasTable().resolve(bad)
        with pytest.raises(ValueError, match=r"^The target of the alias 'mine' "):
            AliasTable().merged({"mine": bad})

    @pytest.mark.parametrize("bad", [None, 1, b"gpt-oss", ("a",)])
    def test_a_name_that_is_no_string_is_refused(self, bad):
        """Likewise, as a ``TypeError``."""
        with pytest.raises(TypeError, match="alias must be a string"):
            AliasTable({bad: "gpt-oss-120b"})
        with pytest.raises(TypeError, match="target of the alias 'mine' must be a string"):
            AliasTable({"mine": bad})
        with pytest.raises(TypeError, match="model must be a string"):
            AliasTable().resolve(bad)

    @pytest.mark.parametrize("bad", [["gpt-oss"], "gpt-oss", [("a", "b")], 5])
    def test_aliases_that_are_no_mapping_are_refused(self, bad):
        """Also a list of pairs: one form is enough."""
        with pytest.raises(TypeError, match=f"aliases is a {type(bad).__name__}: give a mapping"):
            AliasTable(bad)

    def test_it_reads_like_a_mapping(self):
        """The built-in pairs and the user's, through the usual ways of asking."""
        table = AliasTable({"fast": "gpt-oss"})
        assert isinstance(table, Mapping)
        assert table["fast"] == "gpt-oss"
        assert table.get("nothing") is None
        assert len(table) == len(BUILT_IN_ALIASES) + 1
        assert dict(table.items()) == dict(table) == {**BUILT_IN_ALIASES, "fast": "gpt-oss"}
        with pytest.raises(KeyError):
            table["nothing"]

    def test_it_cannot_be_changed(self):
        """Not through the table, and not through the mapping that it was made of."""
        aliases = {"fast": "gpt-oss"}
        table = AliasTable(aliases)
        aliases["fast"] = "other"
        assert table["fast"] == "gpt-oss"
        with pytest.raises(TypeError):
            table["fast"] = "other"
        with pytest.raises(AttributeError):
            table.extra = 1

    def test_equal_tables_are_one_key(self):
        """Equality and hash go by the pairs, whatever their order."""
        one, two = AliasTable({"a": "x", "b": "y"}), AliasTable({"b": "y", "a": "x"})
        assert one == two
        assert len({one, two}) == 1
        assert one != AliasTable()

    def test_its_repr_shows_what_the_user_gave(self):
        """And can be typed back."""
        table = AliasTable({"fast": "gpt-oss"})
        assert repr(table) == "AliasTable({'fast': 'gpt-oss'})"
        assert eval(repr(table)) == table
        assert repr(AliasTable()) == "AliasTable()"

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_it_pickles(self, protocol):
        """Workers of another process get the same table."""
        table = AliasTable({"fast": "gpt-oss"})
        twin = pickle.loads(pickle.dumps(table, protocol))
        assert twin == table
        assert repr(twin) == repr(table)

    def test_it_copies(self):
        """Shallow and deep."""
        table = AliasTable({"fast": "gpt-oss"})
        assert copy.copy(table) == copy.deepcopy(table) == table

    def test_merging_lays_the_other_over_this_one(self):
        """Neither table changes; a plain mapping will do."""
        table = AliasTable({"a": "x", "b": "y"})
        merged = table.merged({"b": "z"})
        assert (merged["a"], merged["b"], table["b"]) == ("x", "z", "y")
        assert table.merged(AliasTable({"b": "z"})) == merged
        assert AliasTable(table) == table

    def test_merging_keeps_this_tables_changes_to_built_in_aliases(self):
        """The other table's built-in half undoes nothing; what it was given itself does."""
        table = AliasTable({"gpt-oss": "my-endpoint"})
        assert table.merged(AliasTable({"a": "x"}))["gpt-oss"] == "my-endpoint"
        assert table.merged(AliasTable({"gpt-oss": "gpt-oss-120b"}))["gpt-oss"] == "gpt-oss-120b"

    def test_merging_refuses_a_circle_that_neither_table_had(self):
        """The merged table is checked like any other."""
        with pytest.raises(ValueError, match="a -> b -> a"):
            AliasTable({"a": "b"}).merged({"b": "a"})

    @given(good_names.filter(lambda name: name not in BUILT_IN_ALIASES))
    def test_an_unknown_id_goes_through_unchanged(self, name):
        """Dedicated endpoints have ids of their own."""
        assert AliasTable().resolve(name) == name

    @given(st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from("abcdefgh")))
    def test_any_map_is_resolved_or_refused_by_name(self, aliases):
        """Resolving ends and is idempotent, or the message shows a true loop; an independent walk agrees."""
        expected = {name: walk(aliases, name) for name in aliases}
        try:
            table = AliasTable(aliases)
        except ValueError as error:
            loop = str(error).split("circle: ")[1].split(".")[0].split(" -> ")
            assert loop[0] == loop[-1]
            assert len(set(loop)) == len(loop) - 1 >= 2
            assert all(aliases[name] == target for name, target in itertools.pairwise(loop))
            assert None in expected.values()
        else:
            assert {name: table.resolve(name) for name in aliases} == expected
            assert all(table.resolve(target) == target for target in expected.values())

    @given(st.dictionaries(good_names, good_names, max_size=5), st.dictionaries(good_names, good_names, max_size=5))
    def test_merging_is_the_same_as_one_mapping(self, first, second):
        """Where the whole is sound, so is the merged table, pair by pair."""
        try:
            whole, table = AliasTable({**first, **second}), AliasTable(first)
        except ValueError:
            return
        assert table.merged(second) == whole


def walk(aliases: Mapping[str, str], name: str) -> str | None:
    """Where a chain ends, ``None`` where it does not within as many steps as there are pairs."""
    for _ in range(len(aliases) + 1):
        if aliases.get(name, name) == name:
            return name
        name = aliases[name]
    return None


class TestPurity:
    def test_it_imports_nothing_that_touches_the_world(self):
        """No clock, loop, socket, thread, chance or LangChain in its own import lines, at any depth."""
        names = set()
        for node in ast.walk(ast.parse(Path(catalog.__file__).read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                names.add(node.module.split(".")[0])
        assert "json" in names
        assert not names & {"aiohttp", "asyncio", "langchain_core", "os", "random", "socket", "threading", "time"}

    def test_importing_it_reads_no_data(self):
        """The file is read by the first question, once, and aliases need none of it."""
        code = (
            "import sys\n"
            "from langchain_cerebras_demo import catalog\n"
            "catalog.AliasTable({'a': 'b'}).resolve('a')\n"
            "assert not {'importlib.resources', 'langchain_core', 'aiohttp', 'asyncio'} & set(sys.modules)\n"
            "assert catalog.model_specs() is catalog.model_specs()\n"
        )
        subprocess.run([sys.executable, "-S", "-c", code], check=True, cwd=ROOT, timeout=60)

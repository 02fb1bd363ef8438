"""A round's answers come from the graph that serves, where one does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from storage.adapters.folder_store import AdapterRef, AdapterStore
from storage.models.base_model import BaseModel, load_tokenizer, resolve_base_model
from storage.models.chat_format import load_chat_format
from storage.models.memory import NumberFormat
from storage.settings.sections import GenerationSettings, ModelSettings, Settings
from tests.seeding import tiny_settings
from tests.trainer.contexts import quiet, serving_of
from tests.trainer.evaluation.test_evaluate import new_adapter, teach
from tests.verdicts import trust_graphs
from trainer.base import RoundBase
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import Evaluation, evaluate, load_evaluation_models
from trainer.evaluation.sampling import GraphSampler, Sampler

GREEDY = GenerationSettings(temperature=0.0, presence_penalty=0.0, max_new_tokens=24)
WARM = GREEDY.model_copy(update={"temperature": 1.0})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("graphs")


@pytest.fixture(scope="module")
def settings(folder: Path, base: BaseModel) -> Settings:
    plain = tiny_settings(folder / "data", base.path)
    model = plain.model.model_copy(update={"engine": "auto", "dtype": "float32"})
    trust_graphs(base, plain.data.directory, model)
    return plain.model_copy(update={"model": model})


@pytest.fixture(scope="module")
def soup(folder: Path, base: BaseModel) -> AdapterRef:
    """An adapter that answers everything otherwise."""
    model = new_adapter(base)
    teach(model, load_tokenizer(base.path), "Try the soup.<|im_end|>", steps=150, learning_rate=1e-2)
    model.save_pretrained(folder / "soup", save_embedding_layers=False)
    return AdapterRef(AdapterStore(folder).seal(folder / "soup"), folder / "soup")


@pytest.fixture(scope="module")
def sampler(settings: Settings, base: BaseModel) -> GraphSampler:
    sampler = serving_of(settings, base).open(None)
    assert isinstance(sampler, GraphSampler)
    return sampler


@pytest.fixture(scope="module")
def prompt(base: BaseModel) -> str:
    return load_chat_format(base.path, {}).render([{"role": "user", "content": "How are you today?"}])


def test_each_version_answers_in_its_own_words(
    settings: Settings, base: BaseModel, soup: AdapterRef, sampler: GraphSampler, prompt: str
) -> None:
    (of_base,) = sampler.answer([prompt], GREEDY, seed=1)
    (of_soup,) = serving_of(settings, base).open(soup).answer([prompt], GREEDY, seed=1)
    assert (of_base.text, of_base.is_cut) == ("I am fine, thank you.", False)
    assert (of_soup.text, of_soup.is_cut) == ("Try the soup.", False)


def test_samples_are_those_of_transformers(base: BaseModel, sampler: GraphSampler, prompt: str) -> None:
    """Tokens too, with the one that ended the answer."""
    theirs = Sampler.load(RoundBase(base, ModelSettings()), None, NumberFormat("float32"))
    assert sampler.answer([prompt], GREEDY, 1) == theirs.answer([prompt], GREEDY, 1)


def test_equal_seeds_give_equal_answers_and_equal_prompts_unequal_ones(sampler: GraphSampler, prompt: str) -> None:
    hot = WARM.model_copy(update={"temperature": 2.0, "top_p": 1.0})
    first = [sample.text for sample in sampler.answer([prompt] * 4, hot, seed=5)]
    assert [sample.text for sample in sampler.answer([prompt] * 4, hot, seed=5)] == first
    assert [sample.text for sample in sampler.answer([prompt] * 4, hot, seed=6)] != first
    assert len(set(first)) > 1


def test_an_answer_that_reaches_the_limit_is_cut_there(sampler: GraphSampler, prompt: str) -> None:
    (short,) = sampler.answer([prompt], GREEDY.model_copy(update={"max_new_tokens": 3}), seed=1)
    assert (short.is_cut, len(short.answer_ids)) == (True, 3)


def test_more_prompts_than_fit_at_once_come_back_in_order(sampler: GraphSampler, prompt: str) -> None:
    done: list[float] = []
    prompts = [prompt, f"{prompt}Yes, of course. "] * 50
    texts = [sample.text for sample in sampler.answer(prompts, GREEDY, seed=1, advance=done.append)]
    assert texts[::2] == [texts[0]] * 50
    assert texts[1::2] == [texts[1]] * 50
    assert texts[0] != texts[1]
    assert done == sorted(done)
    assert (done[0] < 10, done[-1]) == (True, 100)


def test_the_gate_judges_the_graph_that_will_serve(settings: Settings, base: BaseModel, soup: AdapterRef) -> None:
    def judged(engine: str) -> Evaluation:
        model = settings.model.model_copy(update={"engine": engine})
        models = load_evaluation_models(settings.gate, settings.data.directory)
        served = settings.model_copy(update={"model": model})
        return evaluate(serving_of(served, base), soup, models, ServedContext(), quiet)

    by_graph, by_transformers = judged("auto"), judged("transformers")
    assert by_graph.answer_tokens == pytest.approx(by_transformers.answer_tokens, rel=0.2)
    assert by_graph.divergence == pytest.approx(by_transformers.divergence, rel=0.2)
    assert len(list((settings.data.directory / "base" / "findings").iterdir())) == 2, (
        "each speaker has a base of its own"
    )
    names = {file.parent.name for file in settings.data.directory.glob("engine/*/*/openvino_model.xml")}
    assert names == {"base", f"{soup.digest[:16]}_1"}, "the bot finds the graph when the version is promoted"


def test_a_base_without_a_graph_is_answered_by_transformers(
    settings: Settings, base: BaseModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "other"
    shutil.copytree(base.path, other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "hidden_act": "gelu"}))
    unserved = resolve_base_model(str(other), tmp_path)
    assert serving_of(settings, unserved).find_graphs() is None
    assert "Rounds answer with transformers: its activation is gelu." in caplog.text
    assert isinstance(serving_of(settings, unserved).open(None), Sampler)


def test_a_round_answers_for_itself_where_servers_answer_members(settings: Settings, base: BaseModel) -> None:
    remote = settings.model.model_copy(update={"engine": "remote"})
    assert serving_of(settings.model_copy(update={"model": remote}), base).find_graphs() is None

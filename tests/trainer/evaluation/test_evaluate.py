import json
import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from storage.adapters.folder_store import WEIGHTS_FILE, AdapterRef
from storage.database.enums import GateVerdict, TrainingSource
from storage.errors import BaseModelError, SettingsError
from storage.models.base_model import BaseModel, load_model, load_tokenizer
from storage.models.chat_format import ChatFormat, load_chat_format
from storage.models.hardware import cpu_threads
from storage.settings.sections import (
    DataSettings,
    GateSettings,
    GenerationSettings,
    ModelSettings,
    Settings,
    TrainingSettings,
)
from storage.taste.examples import NO_EXAMPLES, Examples, ExampleTurn
from tests.tiny_model import build_tiny_base
from tests.trainer.contexts import serving_of
from trainer.evaluation.context import ServedContext
from trainer.evaluation.evaluate import evaluate, load_evaluation_models
from trainer.evaluation.gate import decide
from trainer.evaluation.measures import OTHERS, ScoredPassage, mean_divergence
from trainer.evaluation.model_measurements import (
    FIT_ANSWERS,
    NEUTRAL_MESSAGES,
    CoherenceScorer,
    Evaluator,
    ServedMessage,
)
from trainer.evaluation.results import Evaluation
from trainer.evaluation.sampling import Sample
from trainer.evaluation.suites import Case, Suite
from trainer.progress import Phase, ReportProgress, RoundProgress

TRAINING = TrainingSettings(dtype="float32")
MESSAGES, CASES = 5, 20
"""The few questions of our own that are asked here."""

pytestmark = pytest.mark.usefixtures("few_questions")


def teach(model, tokenizer, answer: str, *, steps: int, learning_rate: float) -> None:
    """Let a tiny model answer everything alike."""
    prompt = ChatFormat(tokenizer, {}, ()).render([{"role": "user", "content": "How are you today?"}])
    ids = tokenizer(prompt + answer, return_tensors="pt", add_special_tokens=False)["input_ids"]
    labels = ids.clone()
    labels[:, : len(tokenizer(prompt, add_special_tokens=False)["input_ids"])] = -100
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
    with cpu_threads(1):  # a tiny model gains nothing from more, and loses much where they are busy
        for _ in range(steps):
            model(input_ids=ids, labels=labels).loss.backward()
            optimiser.step()
            optimiser.zero_grad()


def new_adapter(base: BaseModel) -> PeftModel:
    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(load_model(base, "float32"), config)


@pytest.fixture(scope="module")
def adapter(base, tmp_path_factory) -> Path:
    """An adapter of small random weights."""
    output = tmp_path_factory.mktemp("adapter")
    model = new_adapter(base)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.02)
    model.save_pretrained(output, save_embedding_layers=False)
    return output


@pytest.fixture(scope="module")
def repeater(base, tmp_path_factory) -> Path:
    """An adapter that learned to say one word again and again."""
    output = tmp_path_factory.mktemp("repeater")
    model = new_adapter(base)
    teach(model, load_tokenizer(base.path), " fine" * 30, steps=150, learning_rate=2e-3)
    model.save_pretrained(output, save_embedding_layers=False)
    return output


@pytest.fixture(scope="module")
def shared_data(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("data")


def scaled(adapter: Path, output: Path, factor: float) -> Path:
    output.mkdir()
    (output / "adapter_config.json").write_bytes((adapter / "adapter_config.json").read_bytes())
    weights = load_file(adapter / WEIGHTS_FILE)
    save_file({name: w * factor if "lora_B" in name else w for name, w in weights.items()}, output / WEIGHTS_FILE)
    return output


def judged(
    base: BaseModel,
    adapter: Path,
    data: Path,
    *,
    temperature: float = 0.7,
    seed: int = 17,
    real: Sequence[ServedMessage] = (),
    report: ReportProgress = lambda _progress: None,
    **gate: object,
) -> Evaluation:
    settings = Settings(
        data=DataSettings(directory=data),
        model=ModelSettings(engine="transformers"),
        training=TRAINING.model_copy(update={"seed": seed}),
        generation=GenerationSettings(temperature=temperature, max_new_tokens=64),
        gate=GateSettings(**{"coherence_model": "base"} | gate),
    )
    models = load_evaluation_models(settings.gate, data)
    return evaluate(serving_of(settings, base), AdapterRef("new", adapter), models, ServedContext(tuple(real)), report)


@pytest.fixture(scope="module")
def known() -> dict[str, Evaluation]:
    return {}


@pytest.fixture
def usual(base, adapter, shared_data, known, few_questions) -> Evaluation:
    """The judgement of `adapter`."""
    if "usual" not in known:
        known["usual"] = judged(base, adapter, shared_data)
    return known["usual"]


@pytest.fixture
def repeating(base, repeater, shared_data, known, few_questions) -> Evaluation:
    """The judgement of `repeater`."""
    if "repeating" not in known:
        known["repeating"] = judged(base, repeater, shared_data)
    return known["repeating"]


def findings(data: Path) -> list[Path]:
    return sorted((data / "base" / "findings").iterdir())


def test_neutral_messages_are_two_dozen_different_ones():
    assert len(set(NEUTRAL_MESSAGES)) == 24


def test_adapter_without_effect_is_the_base_in_everything(base, adapter, tmp_path, shared_data):
    judgement = judged(base, scaled(adapter, tmp_path / "none", 0.0), shared_data)
    assert judgement.divergence == pytest.approx(0.0, abs=1e-6)
    assert judgement.retention_loss_ratio == pytest.approx(1.0)
    assert judgement.coherence_ratio <= 1.0 + 1e-6
    assert judgement.disorder <= judgement.disorder_good
    assert judgement.degenerate_share == judgement.degenerate_share_base == 0.0
    assert judgement.repeated_share == judgement.repeated_share_base == 0.0
    assert judgement.answer_tokens == judgement.answer_tokens_base > 0.0
    assert [result.suite for result in judgement.suites] == [
        "flattery",
        "safety",
        "usefulness",
        "identity",
        "knowledge",
    ]
    assert all(result.lost == result.gained == 0 for result in judgement.suites)


def test_divergence_grows_with_the_adapter(base, adapter, usual, tmp_path, shared_data):
    large = judged(base, scaled(adapter, tmp_path / "large", 20.0), shared_data)
    assert 0.0 < usual.divergence < large.divergence


def test_divergence_is_that_of_the_whole_distributions(base, adapter):
    model = PeftModel.from_pretrained(load_model(base, "float32"), adapter).eval()
    ids = torch.tensor([[1, 40, 50, 60, 70]])
    with torch.inference_mode():
        p = torch.softmax(model(input_ids=ids).logits[0, 1:4].double(), dim=-1)
        with model.disable_adapter():
            q = torch.softmax(model(input_ids=ids).logits[0, 1:4].double(), dim=-1)
    expected = float((p * (p / q).log()).sum(dim=-1).mean())
    assert mean_divergence(model, [ScoredPassage([1, 40], [50, 60, 70])]) == pytest.approx(expected, rel=1e-3)


def test_judgement_fits_into_json(usual):
    restored = json.loads(json.dumps(asdict(usual)))
    assert restored["divergence"] == usual.divergence
    assert restored["suites"][-1]["kind"] == "knowledge"


def test_adapter_that_only_repeats_is_never_published(repeating):
    assert repeating.degenerate_share > 0.9
    assert repeating.degenerate_share_base == 0.0
    verdict = decide(1.0, repeating, GateSettings(), learns_from=TrainingSource.EXAMPLES)
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)


def test_adapter_that_does_not_end_its_answers_fails(repeating):
    """Both numbers are those of whole answers, which have up to 64 tokens here."""
    assert (repeating.cut_share, repeating.cut_share_base) == (1.0, 0.0)
    assert repeating.answer_tokens == 64
    checks = {
        check.name: check
        for check in decide(1.0, repeating, GateSettings(), learns_from=TrainingSource.EXAMPLES).checks
    }
    assert checks["endings"].outcome is checks["length"].outcome is GateVerdict.FAIL


def test_adapter_of_no_numbers_is_never_published(base, adapter, tmp_path, shared_data):
    judgement = judged(base, scaled(adapter, tmp_path / "nan", float("nan")), shared_data)
    assert math.isnan(judgement.divergence)
    assert math.isnan(judgement.retention_loss_ratio)
    verdict = decide(1.0, judgement, GateSettings(), learns_from=TrainingSource.EXAMPLES)
    assert (verdict.outcome, verdict.publishable) == (GateVerdict.FAIL, False)


def test_findings_about_the_base_are_kept_for_later_rounds_and_equal_seeds_give_equal_ones(
    base, adapter, usual, tmp_path
):
    first: list[RoundProgress] = []
    again: list[RoundProgress] = []
    assert judged(base, adapter, tmp_path, report=first.append) == usual
    (file,) = findings(tmp_path)
    kept = json.loads(file.read_text())
    assert sum(kept["answers"]["tokens"]) / MESSAGES == usual.answer_tokens_base
    assert len(kept["answers"]["fits"]) == FIT_ANSWERS * MESSAGES
    file.write_text(json.dumps(kept | {"answers": kept["answers"] | {"tokens": [11] * MESSAGES}}))
    assert judged(base, adapter, tmp_path, report=again.append).answer_tokens_base == 11
    assert findings(tmp_path) == [file]
    of_version = [Phase.JUDGING, Phase.ANSWERING, Phase.COHERENCE, Phase.DIVERGENCE]
    assert list(dict.fromkeys(each.phase for each in first)) == [
        *of_version,
        Phase.BASE_ANSWERING,
        Phase.BASE_COHERENCE,
    ]
    assert list(dict.fromkeys(each.phase for each in again)) == of_version
    for phase, steps in (
        (Phase.ANSWERING, FIT_ANSWERS * MESSAGES + CASES),
        (Phase.COHERENCE, MESSAGES + (1 + OTHERS) * FIT_ANSWERS * MESSAGES),
        (Phase.DIVERGENCE, MESSAGES),
    ):
        counted = [each for each in first if each.phase is phase]
        assert {each.steps for each in counted} == {steps}
        assert [each.step for each in counted] == sorted({each.step for each in counted})
        assert (counted[0].step, counted[-1].step) == (0, steps)


def test_other_questions_are_asked_again(base, adapter, usual, shared_data):
    known = len(findings(shared_data))
    judged(base, adapter, shared_data, seed=18)
    greedy = judged(base, adapter, shared_data, temperature=0.0)
    assert 0.0 < greedy.answer_tokens <= 64
    assert len(findings(shared_data)) == known + 2


def members(base: BaseModel, *messages: str) -> list[ServedMessage]:
    chat = load_chat_format(base.path, {})
    return [ServedMessage(chat.render([{"role": "user", "content": message}]), message) for message in messages]


def test_members_messages_are_answered_too_and_never_kept(base, adapter, usual, tmp_path):
    reported: list[RoundProgress] = []
    real = members(base, "What do you think of the ferry?", "Soup again?")
    both = judged(base, adapter, tmp_path, real=real, report=reported.append)
    assert (usual.messages, usual.real_messages) == (MESSAGES, 0)
    assert (both.messages, both.real_messages) == (MESSAGES + 2, 2)
    assert both.coherence_ratio != usual.coherence_ratio
    assert (both.divergence, both.suites) == (usual.divergence, usual.suites)
    (file,) = findings(tmp_path)
    assert len(json.loads(file.read_text())["answers"]["whole"]) == MESSAGES
    assert list(dict.fromkeys(each.phase for each in reported)) == [
        Phase.JUDGING,
        Phase.ANSWERING,
        Phase.COHERENCE,
        Phase.ANSWERING_MEMBERS,
        Phase.DIVERGENCE,
        Phase.BASE_ANSWERING,
        Phase.BASE_COHERENCE,
        Phase.BASE_ANSWERING_MEMBERS,
    ]


def test_liked_answers_are_repeated_whole_and_those_of_the_card_in_pieces():
    shown = (("Hi", "It is good to have you. What brought you here?"),)
    asked = ["I like soup.", "I am bored."]
    answers = ["It is good to have you! What brought you here?", "It is good to have you. Bored again?"]
    assert ServedContext(of_card=shown).repeated_share(asked, answers) == 1.0
    assert ServedContext(liked_answers=shown).repeated_share(asked, answers) == 0.5
    assert ServedContext(of_card=shown).repeated_share(["hi", "hi!"], answers) == 0.0


def test_folder_that_cannot_be_written_costs_time_alone(base, adapter, usual, tmp_path):
    (tmp_path / "base").write_text("a file in its place")
    assert judged(base, adapter, tmp_path) == usual


def test_the_operators_suite_is_judged_too_and_the_base_is_asked_again(base, adapter, usual, shared_data, tmp_path):
    known = len(findings(shared_data))
    file = tmp_path / "house.jsonl"
    file.write_text('{"id": "thanks", "prompt": "How are you today?", "must": ["thank you"]}\n')
    result = judged(base, adapter, shared_data, suites=(file,)).suites[-1]
    assert (result.suite, result.cases, result.base_passes) == ("house", 1, 1)
    assert len(findings(shared_data)) == known + 1


def test_suite_that_does_not_fit_is_refused(base, adapter, tmp_path):
    (tmp_path / "house.jsonl").write_text("{\n")
    with pytest.raises(SettingsError, match=r"house\.jsonl, line 1"):
        judged(base, adapter, tmp_path, suites=(tmp_path / "house.jsonl",))


def test_another_model_may_judge_coherence(base, repeater, repeating, tmp_path):
    folder = build_tiny_base(tmp_path / "untaught")
    (folder / "chat_template.jinja").unlink()
    judgement = judged(base, repeater, tmp_path, coherence_model=str(folder))
    assert judgement.coherence_ratio != repeating.coherence_ratio
    assert (judgement.coherence_model, repeating.coherence_model) == ("untaught", "the base model")
    named = {field.name for field in fields(Evaluation)} - {"coherence_ratio", "coherence_model", "fitness"}
    named -= {"disorder", "disorder_good"}
    assert all(getattr(judgement, name) == getattr(repeating, name) for name in named)


def test_coherence_model_that_does_not_exist_is_refused(base, adapter, tmp_path):
    with pytest.raises(BaseModelError, match=r"gate\.coherence_model = 'nowhere' is not a folder"):
        judged(base, adapter, tmp_path, coherence_model="nowhere")


class Parrot:
    """Answers with all that it is asked."""

    def answer(self, prompts, _generation, _seed, _advance) -> list[Sample]:
        return [Sample(prompt, is_cut=False, prompt_ids=(), answer_ids=()) for prompt in prompts]


def test_a_suite_is_asked_with_the_examples_that_the_base_is_shown_to_answer_members(base, adapter, tmp_path):
    serving = serving_of(Settings(data=DataSettings(directory=tmp_path), training=TRAINING), base)
    sampler = serving.load(AdapterRef("new", adapter))
    suite = Suite("sailors", (Case("hail", ({"role": "user", "content": "Hi"},), must=("Ahoy",)),))
    evaluator = Evaluator(sampler, CoherenceScorer(sampler, None, "float32"), [suite], serving, lambda _progress: None)
    shown = Examples(liked=(ExampleTurn("Hello", "Ahoy, friend!"),))
    assert evaluator.grade_as_served(Parrot(), [suite], shown) == {"sailors": (True,)}
    assert evaluator.grade_as_served(Parrot(), [suite], NO_EXAMPLES) == {"sailors": (False,)}


def test_the_base_answers_a_suite_with_its_examples_only_if_the_version_is_worse_in_it(
    base, adapter, repeater, shared_data, tmp_path
):
    polite = tmp_path / "polite.jsonl"
    polite.write_text(json.dumps({"id": "thanks", "prompt": "How are you?", "must": ["thank you"]}))
    worse = {one.suite: one for one in judged(base, repeater, shared_data, suites=(polite,)).suites}
    assert (worse["polite"].lost, worse["polite"].served.base_passes, worse["polite"].served.lost) == (1, 1, 1)
    equal = {one.suite: one for one in judged(base, adapter, shared_data, suites=(polite,)).suites}
    assert (equal["polite"].lost, equal["polite"].served) == (0, None)

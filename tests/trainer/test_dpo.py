from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from storage.adapters import CONFIG_FILE, WEIGHTS_FILE, AdapterStore, require_base
from storage.base_model import BaseModel, load_model, load_tokenizer, quiet_transformers, resolve_base_model
from storage.errors import AdapterError
from storage.settings import TrainingSettings
from tests.tiny_model import build_tiny_base
from trainer.dpo import DpoMetrics, PreferencePair, Progress, _rows, cpu_threads, train_dpo
from trainer.errors import TrainerError, TrainingDiverged

SETTINGS = TrainingSettings(dtype="float32", learning_rate=5e-3, epochs=3, lora_rank=4, lora_alpha=8)
PROMPT = "<|im_start|>user\nHow are you, {}?<|im_end|>\n<|im_start|>assistant\n"
PAIRS = [
    PreferencePair(PROMPT.format(name), "Yes, of course.", "No, sorry.") for name in ("Ana", "Bo", "Cy", "Di", "Eve")
]


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> BaseModel:
    folder = tmp_path_factory.mktemp("base")
    return resolve_base_model(str(build_tiny_base(folder / "tiny")), folder / "data")


def train(
    base: BaseModel, output: Path, *, train=PAIRS[:4], holdout=(), parent=None, settings=SETTINGS, report=None
) -> DpoMetrics:  # type: ignore[no-untyped-def]
    report = report or (lambda _progress: None)
    return train_dpo(train, holdout, base=base, parent=parent, output=output, settings=settings, report=report)


def answer_logp(base: BaseModel, adapter: Path | None, pair: PreferencePair, answer: str) -> float:
    """Log-probability in nats that the served prompt is answered so, end token included."""
    from peft import PeftModel

    tokenizer, model = load_tokenizer(base), load_model(base, "float32")
    if adapter is not None:
        with quiet_transformers():
            model = PeftModel.from_pretrained(model, adapter)
    prompt = tokenizer(pair.prompt, add_special_tokens=False)["input_ids"]
    completion = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None]).sum())


def margin(base: BaseModel, policy: Path, reference: Path | None, pair: PreferencePair) -> float:
    def log_ratio(answer: str) -> float:
        return answer_logp(base, policy, pair, answer) - answer_logp(base, reference, pair, answer)

    return SETTINGS.beta * (log_ratio(pair.chosen) - log_ratio(pair.rejected))


def test_adapter_moves_and_the_base_does_not(base, tmp_path):
    before = (base.path / "model.safetensors").read_bytes()
    train(base, tmp_path / "out")
    weights = load_file(tmp_path / "out" / WEIGHTS_FILE)
    assert all("lora_" in name for name in weights)
    assert all(tensor.abs().sum() > 0 for name, tensor in weights.items() if "lora_B" in name)
    assert (base.path / "model.safetensors").read_bytes() == before


def test_only_the_trained_adapter_is_written_and_can_be_published(base, tmp_path):
    store = AdapterStore(tmp_path / "store")
    with store.stage() as staging:
        train(base, staging)
        digest = store.publish(staging)
    require_base(store.path(digest), base)


def test_adapter_does_not_fit_another_base(base, tmp_path):
    train(base, tmp_path / "out")
    other = BaseModel("other", base.path, "0" * 16, "GemmaForCausalLM")
    with pytest.raises(AdapterError, match="not on other"):
        require_base(tmp_path / "out", other)


def test_easy_preference_is_learnt_and_carries_to_held_out_prompts(base, tmp_path):
    losses = []
    metrics = train(
        base,
        tmp_path / "out",
        holdout=PAIRS[4:],
        report=lambda progress: losses.append(progress.loss) if progress.loss is not None else None,
    )
    assert losses[-1] < losses[0]
    assert metrics.train_loss == pytest.approx(sum(losses) / len(losses), rel=1e-3)
    assert (metrics.pairs, metrics.holdout_pairs, metrics.steps, metrics.left_out) == (4, 1, 3, 0)
    assert metrics.holdout_accuracy == 1.0
    assert metrics.holdout_margin is not None
    assert metrics.holdout_margin == pytest.approx(margin(base, tmp_path / "out", None, PAIRS[4]), abs=1e-4)


def test_parent_is_the_reference_of_the_next_round(base, tmp_path):
    train(base, tmp_path / "first")
    metrics = train(base, tmp_path / "second", holdout=PAIRS[4:], parent=tmp_path / "first")
    to_parent = margin(base, tmp_path / "second", tmp_path / "first", PAIRS[4])
    to_base = margin(base, tmp_path / "second", None, PAIRS[4])
    assert metrics.holdout_margin == pytest.approx(to_parent, abs=1e-4)
    assert to_base > to_parent + 0.01
    assert sorted(path.name for path in (tmp_path / "second").iterdir() if path.is_dir()) == []


def test_parent_is_left_as_it_was(base, tmp_path):
    train(base, tmp_path / "first")
    before = (tmp_path / "first" / WEIGHTS_FILE).read_bytes()
    train(base, tmp_path / "second", parent=tmp_path / "first")
    assert (tmp_path / "first" / WEIGHTS_FILE).read_bytes() == before
    assert (tmp_path / "second" / WEIGHTS_FILE).read_bytes() != before


def test_same_pairs_and_seed_give_the_same_bytes(base, tmp_path):
    train(base, tmp_path / "a")
    torch.rand(3)  # whatever ran before must not matter
    train(base, tmp_path / "b")
    train(base, tmp_path / "c", settings=SETTINGS.model_copy(update={"seed": 18}))
    first, again, other = ((tmp_path / name / WEIGHTS_FILE).read_bytes() for name in "abc")
    assert first == again != other


def test_loss_is_hand_computed_dpo_plus_likelihood(base, tmp_path):
    losses = []
    pair = PAIRS[0]
    train(
        base,
        tmp_path / "out",
        train=[pair],
        settings=SETTINGS.model_copy(update={"epochs": 1, "sft_weight": 0.5}),
        report=lambda progress: losses.append(progress.loss),
    )
    tokens = len(load_tokenizer(base)(pair.chosen)["input_ids"]) + 1
    # At the start policy and reference agree, so the DPO term is -log(sigmoid(0)) = log 2.
    expected = 0.6931 - 0.5 * answer_logp(base, None, pair, pair.chosen) / tokens
    assert next(loss for loss in losses if loss is not None) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_weight_scales_a_pairs_loss(base, tmp_path, weight):
    settings = SETTINGS.model_copy(update={"epochs": 1, "sft_weight": 0})
    pair = PreferencePair(PAIRS[0].prompt, PAIRS[0].chosen, PAIRS[0].rejected, weight=weight)
    assert train(base, tmp_path / "out", train=[pair], settings=settings).train_loss == pytest.approx(
        weight * 0.6931, abs=1e-4
    )


def test_answer_that_brings_its_end_token_trains_the_same(base, tmp_path):
    ended = [PreferencePair(p.prompt, f"{p.chosen}<|im_end|>", f"{p.rejected}<|im_end|>") for p in PAIRS[:4]]
    train(base, tmp_path / "a")
    train(base, tmp_path / "b", train=ended)
    assert (tmp_path / "a" / WEIGHTS_FILE).read_bytes() == (tmp_path / "b" / WEIGHTS_FILE).read_bytes()


def test_pairs_longer_than_the_limit_are_left_out_and_counted(base, tmp_path):
    long = PreferencePair(PAIRS[0].prompt, "Yes. " * 400, "No.")
    metrics = train(base, tmp_path / "out", train=[*PAIRS[:2], long], holdout=[long])
    assert (metrics.pairs, metrics.holdout_pairs, metrics.left_out) == (2, 0, 2)
    assert metrics.holdout_accuracy is None


def test_round_in_which_no_pair_fits_is_refused(base, tmp_path):
    with pytest.raises(TrainerError, match=r"training\.max_tokens"):
        train(base, tmp_path / "out", train=[PreferencePair("Hi " * 900, "Yes.", "No.")])


def test_loss_that_is_no_number_stops_at_once_and_writes_no_adapter(base, tmp_path):
    broken = PreferencePair(PAIRS[0].prompt, PAIRS[0].chosen, PAIRS[0].rejected, weight=float("nan"))
    with pytest.raises(TrainingDiverged, match="step 1"):
        train(base, tmp_path / "out", train=[broken])
    assert not (tmp_path / "out" / CONFIG_FILE).exists()


def test_progress_goes_through_the_phases_and_counts_down(base, tmp_path):
    said: list[Progress] = []
    train(base, tmp_path / "out", holdout=PAIRS[4:], report=said.append)
    assert list(dict.fromkeys(progress.phase for progress in said)) == [
        "loading",
        "reference",
        "training",
        "evaluating",
    ]
    steps = [progress for progress in said if progress.phase == "training"]
    assert [progress.step for progress in steps] == [0, 1, 2, 3]
    assert {progress.steps for progress in steps} == {3}
    assert steps[1].seconds_left is not None
    assert steps[1].seconds_left > steps[-1].seconds_left == 0.0


def test_training_prints_nothing(base, tmp_path, capfd):
    train(base, tmp_path / "out", holdout=PAIRS[4:])
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_threads_are_set_for_the_round_only():
    before = torch.get_num_threads()
    with cpu_threads(1):
        assert torch.get_num_threads() == 1
    with cpu_threads(0):
        assert torch.get_num_threads() == before
    assert torch.get_num_threads() == before


def test_an_answer_cut_at_the_length_limit_is_not_taught_to_end_there(base, tmp_path):
    seen: list[list[int]] = []
    tokenizer = load_tokenizer(base)
    for is_cut in (False, True):
        pair = PreferencePair(PAIRS[0].prompt, "Yes, of", "No.", chosen_is_cut=is_cut)
        (row,) = _rows([pair], tokenizer, 128)
        seen.append(row["chosen_ids"])
    assert seen[0] == [*seen[1], tokenizer.eos_token_id]


@pytest.mark.parametrize("name", ["_prepare_dataset", "_precompute_ref_logps", "_send_telemetry"])
def test_trl_still_has_the_private_methods_that_are_overridden(name):
    """Renamed in TRL, they would run again: special tokens twice, cache files, and telemetry to the hub."""
    from trl import DPOTrainer

    from trainer.preference_trainer import PreferenceTrainer

    assert callable(getattr(DPOTrainer, name))
    assert getattr(PreferenceTrainer, name) is not getattr(DPOTrainer, name)

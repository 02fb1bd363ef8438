"""A prompt that is computed once for all its answers trains as TRL's separate rows do."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from operator import itemgetter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from storage.models.base_model import BaseModel, load_tokenizer
from storage.models.hardware import silence_transformers
from storage.settings.sections import TrainingSettings
from trainer.training.memory_plan import USUAL, TrainingMemoryPlan
from trainer.training.recipes import DPO
from trainer.training.rows import Row, TokenTree, split_by_tokens
from trainer.training.scorers import IGNORED, SharedPromptScorer, SiblingSampler, reason_not_to_share, score
from trainer.training.trl_trainers import PreferenceTrainer

WINDOW = 8  # tokens; every prompt is longer
# A likelihood term would differ: TRL's is a mean over a batch's tokens, ours one over each pair's.
SETTINGS = TrainingSettings(dtype="float32", learning_rate=5e-3, sft_weight=0, batch_size=3, lora_rank=4)
SIZES = {
    "vocab_size": 403,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # so that attention tells in the log-probabilities
}
LAYERS = ["sliding_attention", "full_attention"]
MODEL_INPUTS = ("input_ids", "attention_mask", "completion_mask")


class CountsColumns(LlamaForCausalLM):
    """Treats a token's column as its position and ignores the given positions."""

    def forward(self, *arguments: Any, position_ids: Any = None, **options: Any) -> Any:
        return super().forward(*arguments, **options)


class SeesEverythingBefore(LlamaForCausalLM):
    """Looks past the mask that it is given."""

    def forward(self, *arguments: Any, attention_mask: Any = None, **options: Any) -> Any:
        return super().forward(*arguments, **options)


SERVED = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, attn_implementation="eager")),
    "gemma 3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**SIZES, head_dim=8, sliding_window=WINDOW, layer_types=LAYERS)
    ),
    "qwen 2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES)),
    "qwen 3": lambda: Qwen3ForCausalLM(
        Qwen3Config(**SIZES, head_dim=8, use_sliding_window=True, sliding_window=WINDOW, layer_types=LAYERS)
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, sliding_window=WINDOW)),
}
NOT_SERVED = {
    "columns for positions": lambda: CountsColumns(LlamaConfig(**SIZES)),
    "a mask ignored": lambda: SeesEverythingBefore(LlamaConfig(**SIZES)),
    "no mask of four dimensions": lambda: BloomForCausalLM(
        BloomConfig(vocab_size=403, hidden_size=32, n_layer=2, n_head=4)
    ),
}


@pytest.fixture(scope="module")
def tokenizer(base: BaseModel) -> Any:
    return load_tokenizer(base.path)


def rows() -> list[Row]:
    """Three prompts of unequal lengths with two to four answers, every two of them a pair; some begin alike."""
    chance = random.Random(0)

    def cut(tokens: int) -> list[int]:
        return [chance.randrange(5, 400) for _ in range(tokens)]

    pairs: list[Row] = []
    for prompt_tokens, siblings in ((20, 3), (150, 2), (60, 4)):
        prompt, start = cut(prompt_tokens), cut(3)
        answers = [[*start[: index % 4], *cut(5 + 7 * index)] for index in range(siblings)]
        pairs += [
            {"prompt_ids": prompt, "chosen_ids": one, "rejected_ids": other, "weight": 1.0}
            for place, one in enumerate(answers)
            for other in answers[:place]
        ]
    return sorted(pairs, key=itemgetter("prompt_ids"))


def ours(
    kind: Any, tokenizer: Any, tmp_path: Any, pairs: Sequence[Row], plan: TrainingMemoryPlan = USUAL
) -> PreferenceTrainer:
    from datasets import Dataset

    with silence_transformers():
        return PreferenceTrainer(
            **_model(kind),
            processing_class=tokenizer,
            args=DPO.config(tmp_path / "ours", SETTINGS, 0, plan, validates=False),
            train_dataset=Dataset.from_list(list(pairs)),
            eval_dataset=None,
            patience=0,
            report=lambda _progress: None,
            plan=plan,
        )


def stock(kind: Any, tokenizer: Any, tmp_path: Any, pairs: Sequence[Row]) -> Any:
    """TRL's own trainer, which takes the pairs in our order and computes the reference again in each step."""
    from datasets import Dataset
    from trl import DPOTrainer

    class Tokenised(DPOTrainer):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_arguments: Any) -> Any:
            return dataset

    args = DPO.config(tmp_path / "stock", SETTINGS, 0, USUAL, validates=False)
    args.precompute_ref_log_probs, args.train_sampling_strategy = False, "sequential"
    order = SiblingSampler([pair["prompt_ids"] for pair in pairs], SETTINGS.seed)
    columns = ("prompt_ids", "chosen_ids", "rejected_ids")
    with silence_transformers():
        return Tokenised(
            **_model(kind),
            processing_class=tokenizer,
            args=args,
            train_dataset=Dataset.from_list([{name: pairs[index][name] for name in columns} for index in order]),
        )


def _model(kind: Any) -> dict[str, Any]:
    """Equal models each time, with an adapter that is not nothing, so that both of its factors have gradients."""
    from peft import LoraConfig

    torch.manual_seed(0)
    adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    return {"model": kind(), "peft_config": adapter}


def adapter(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: weight for name, weight in trainer.model.named_parameters() if weight.requires_grad}


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("kind", ["llama", "gemma 3"])
def test_activations_that_are_computed_again_give_the_same_adapter(kind, tokenizer, tmp_path):
    pairs, again = rows(), TrainingMemoryPlan(checkpointing=True)
    kept, computed = (ours(SERVED[kind], tokenizer, tmp_path, pairs, plan) for plan in (USUAL, again))
    runs = [trainer.learn() for trainer in (kept, computed)]
    assert computed.model.get_base_model().model.layers[0].gradient_checkpointing
    assert computed.shares_prompts
    assert runs[0].losses == runs[1].losses
    for name, weight in adapter(kept).items():
        assert torch.equal(weight, adapter(computed)[name]), name


@pytest.mark.parametrize("kind", SERVED.values(), ids=SERVED)
def test_training_ends_where_trls_does(kind, tokenizer, tmp_path, caplog):
    """Log-probabilities within 1e-4 nats an answer, losses within 1e-4, the adapter within 1e-3 of its movement."""
    pairs = rows()
    one, other = ours(kind, tokenizer, tmp_path, pairs), stock(kind, tokenizer, tmp_path, pairs)
    assert one.shares_prompts
    assert not [record for record in caplog.records if record.name == "trainer.training.trl_trainers"]
    inputs = one._prepare_inputs(one.data_collator(one.train_dataset.to_list()))
    expected = other.compute_ref_log_probs(other.model, {k: v for k, v in inputs.items() if k in MODEL_INPUTS})
    for name, logps in zip(one.reference_columns, expected, strict=True):
        assert torch.allclose(inputs[name], logps, atol=1e-4)
    before = {name: weight.detach().clone() for name, weight in adapter(one).items()}
    one.learn()
    other.train()
    assert losses(one) == pytest.approx(losses(other), abs=1e-4)
    for name, weight in adapter(other).items():
        moved = (weight - before[name]).norm()
        assert moved > 0
        assert (adapter(one)[name] - weight).norm() <= 1e-3 * moved


@pytest.mark.parametrize("kind", SERVED.values(), ids=SERVED)
def test_gradients_are_trls(kind, tokenizer, tmp_path):
    """Within a thousandth of their size in float32."""
    pairs = rows()
    gradients = []
    for trainer in (ours(kind, tokenizer, tmp_path, pairs), stock(kind, tokenizer, tmp_path, pairs)):
        trainer.current_gradient_accumulation_steps = 1
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.training_step(trainer.model, batch, SETTINGS.batch_size)
        gradients.append({name: weight.grad for name, weight in adapter(trainer).items()})
    for name, expected in gradients[1].items():
        assert expected.norm() > 0
        assert (gradients[0][name] - expected).norm() <= 1e-3 * expected.norm()


@pytest.mark.parametrize("kind", NOT_SERVED.values(), ids=NOT_SERVED)
def test_a_model_that_cannot_be_served_gets_separate_rows_and_says_so_once(kind, tokenizer, tmp_path, caplog):
    pairs = rows()
    with caplog.at_level(logging.WARNING):
        one = ours(kind, tokenizer, tmp_path, pairs)
        one.learn()
    assert not one.shares_prompts
    (record,) = (record for record in caplog.records if record.name == "trainer.training.trl_trainers")
    assert "computes every prompt again for each of its answers" in record.message
    other = stock(kind, tokenizer, tmp_path, pairs)
    other.train()
    assert losses(one) == pytest.approx(losses(other), abs=1e-4)


texts = st.lists(st.integers(0, 3), min_size=2, max_size=6)


@given(st.lists(texts, min_size=1, max_size=6))
def test_a_tree_holds_every_beginning_once_and_every_text_whole(written):
    tree = TokenTree()
    paths = [tree.add(text) for text in written]
    tokens, positions, visible = tree.tokens, tree.positions(), tree.visible()
    assert len(tokens) == len({tuple(text[:end]) for text in written for end in range(1, len(text) + 1)})
    for text, path in zip(written, paths, strict=True):
        assert [tokens[column] for column in path] == text
        assert [positions[column] for column in path] == list(range(len(text)))
        for place, column in enumerate(path):
            assert visible[column].nonzero()[0].tolist() == path[: place + 1]


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=8), st.integers(1, 20))
def test_runs_lose_no_pair_and_keep_to_the_limit_but_for_siblings(pairs, most):
    runs = split_by_tokens(pairs, most, siblings=4)
    assert [index for run in runs for index in run] == list(range(len(pairs)))
    for run in runs:
        tree = TokenTree()
        for index in run:
            before = len(tree.tokens)
            columns = {column for text in pairs[index] for column in tree.add(text)}
            added = len(tree.tokens) - before
            assert before == 0 or len(tree.tokens) <= most or 2 * added < len(columns)


class SumsWhatItSees:
    """A model of one layer: what it says next depends on the tokens and positions that a token sees, in float64."""

    dtype = torch.float64
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(sliding_window=3))

    def __call__(
        self, *, input_ids: Any, position_ids: Any, attention_mask: Any, logits_to_keep: Any, **_others: Any
    ) -> Any:
        seen = (attention_mask[0, 0] == 0).double() @ ((input_ids[0] + 1) * (position_ids[0] + 2)).double()
        return SimpleNamespace(logits=torch.cos(seen[:, None] * torch.arange(1, 5))[logits_to_keep][None])


@given(st.lists(st.tuples(texts, st.integers(1, 5)), min_size=1, max_size=6))
def test_every_answer_gets_its_own_log_probabilities(rows):
    """Rows of unequal lengths and completions, equal ones among them, against a sum over each row alone."""
    longest = max(len(text) for text, _ in rows)
    ids = torch.tensor([text + [0] * (longest - len(text)) for text, _ in rows])
    is_token = torch.tensor([[1] * len(text) + [0] * (longest - len(text)) for text, _ in rows])
    labels = ids.masked_fill(is_token == 0, IGNORED)
    for label, (text, start) in zip(labels, rows, strict=True):
        label[: min(start, len(text) - 1)] = IGNORED
    scorer = SharedPromptScorer(SumsWhatItSees())
    scored = scorer(input_ids=ids, attention_mask=is_token, labels=labels, fused_lm_head=True).log_probs
    for logps, label, (text, _) in zip(scored, labels, rows, strict=True):
        for place in range(longest - 1):
            expected = 0.0
            if label[place + 1] != IGNORED:
                seen = sum((text[at] + 1) * (at + 2) for at in range(max(0, place - 2), place + 1))
                logits = torch.cos(seen * torch.arange(1.0, 5.0, dtype=torch.float64))
                expected = float(logits.log_softmax(0)[text[place + 1]])
            assert float(logps[place]) == pytest.approx(expected, abs=1e-5)


def test_the_pairs_of_a_prompt_follow_one_another_in_an_order_that_its_seed_gives():
    prompts = [[number % 4] for number in range(12)]
    sampler, again, other = SiblingSampler(prompts, 1), SiblingSampler(prompts, 1), SiblingSampler(prompts, 2)
    first, second = list(sampler), list(sampler)
    assert sorted(first) == list(range(12))
    assert len(sampler) == 12
    assert [len({index % 4 for index in first[start : start + 3]}) for start in (0, 3, 6, 9)] == [1, 1, 1, 1]
    assert first != second
    assert (list(again), list(again)) == (first, second)
    assert list(other) != first


def test_float16_shares_prompts_and_learns_in_float32() -> None:
    """As on a GPU without bfloat16: frozen weights in float16, a scaled loss, and an adapter in float32."""
    torch.manual_seed(0)
    model = get_peft_model(SERVED["llama"]().half(), LoraConfig(r=4, target_modules="all-linear"))
    ids = torch.randint(5, 400, (2, 40))
    ids[1, :20] = ids[0, :20]
    completions = (torch.arange(40) >= 20).long().expand(2, -1)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": completions}
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer, scaler = torch.optim.AdamW(trained, lr=1e-2), torch.amp.GradScaler("cpu", init_scale=1024.0)
    losses = []
    for _ in range(3):
        with torch.autocast("cpu", torch.float16):
            assert reason_not_to_share(model, inputs) is None
            scored = score(SharedPromptScorer(model), inputs)
            loss = -scored.log_probs.sum() / scored.label_mask.sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert (scored.log_probs.dtype, {weight.dtype for weight in trained}) == (torch.float32, {torch.float32})
    assert losses[2] < losses[1] < losses[0]

import json
import math

import pytest

from trainer.evaluation.evaluate import load_or_compute
from trainer.evaluation.measures import OTHERS, Fit
from trainer.evaluation.model_measurements import NO_ANSWERS, Answers, Findings

CACHE_KEY = {"base": "0123456789abcdef", "messages": ["Hi"]}
FINDINGS = Findings(
    retention_loss=2.5,
    answers=Answers(
        losses=((4.5, 2.25),),
        in_order=(4.5,),
        shuffled=(6.0,),
        whole=("Yes, of course.", ""),
        begun=("Yes", ""),
        tokens=(4, 1),
        cut=(False, True),
        fits=(Fit(own=-4.5, others=(-6.0,) * OTHERS),),
    ),
    passed=((True, False), (True,)),
    english_shares=(0.5, 1.0),
)
ANSWERS = {
    "whole": ["Yes, of course.", ""],
    "begun": ["Yes", ""],
    "tokens": [4, 1],
    "cut": [False, True],
    "losses": [[4.5, 2.25]],
    "in_order": [4.5],
    "shuffled": [6.0],
    "fits": [{"own": -4.5, "others": [-6.0] * OTHERS}],
}
WHOLE = {
    "retention_loss": 2.5,
    "answers": ANSWERS,
    "passed": [[True, False], [True]],
    "english_shares": [0.5, 1.0],
}


def never() -> Findings:
    raise AssertionError("the base was asked again")


def test_findings_are_kept_as_they_are(tmp_path):
    assert load_or_compute(tmp_path / "new", CACHE_KEY, [2, 1], lambda: FINDINGS) == FINDINGS
    assert load_or_compute(tmp_path / "new", CACHE_KEY, [2, 1], never) == FINDINGS
    (file,) = (tmp_path / "new").iterdir()
    assert json.loads(file.read_text()) == WHOLE


def test_other_questions_have_findings_of_their_own(tmp_path):
    load_or_compute(tmp_path, CACHE_KEY, [2, 1], lambda: FINDINGS)
    with pytest.raises(AssertionError, match="asked again"):
        load_or_compute(tmp_path, CACHE_KEY | {"messages": ["Bye"]}, [2, 1], never)


def without(name: str) -> dict[str, object]:
    return {key: value for key, value in WHOLE.items() if key != name}


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00\x00",
        json.dumps(WHOLE)[:-9],
        json.dumps(without("passed")),
        json.dumps(without("answers")),
        json.dumps(WHOLE | {"more": 1.0}),
        json.dumps(WHOLE | {"retention_loss": None}),
        json.dumps(WHOLE | {"retention_loss": "much"}),
        json.dumps(WHOLE | {"retention_loss": math.nan}),
        json.dumps(WHOLE | {"answers": ANSWERS | {"more": 1.0}}),
        json.dumps(WHOLE | {"answers": ANSWERS | {"losses": []}}),
        json.dumps(WHOLE | {"answers": ANSWERS | {"losses": [[4.5, math.nan]]}}),
        json.dumps(WHOLE | {"answers": ANSWERS | {"losses": 2.25}}),
        json.dumps(WHOLE | {"passed": [[True], [True]]}),
        json.dumps(WHOLE | {"passed": [True, False]}),
    ],
)
def test_a_damaged_file_is_written_again(tmp_path, damaged):
    load_or_compute(tmp_path, CACHE_KEY, [2, 1], lambda: FINDINGS)
    (file,) = tmp_path.iterdir()
    file.write_text(damaged)
    assert load_or_compute(tmp_path, CACHE_KEY, [2, 1], lambda: FINDINGS) == FINDINGS
    assert json.loads(file.read_text()) == WHOLE
    assert list(tmp_path.iterdir()) == [file]


def test_nan_findings_are_not_kept(tmp_path):
    broken = Findings(math.nan, NO_ANSWERS, passed=((False, False), (False,)), english_shares=(1.0, 1.0))
    assert load_or_compute(tmp_path, CACHE_KEY, [2, 1], lambda: broken) is broken
    assert list(tmp_path.iterdir()) == []

"""An admin finds an answer that people disliked, and does something about it."""

from __future__ import annotations

import pytest

from storage.database.enums import Basis
from storage.database.tables import AuditRow, CardRevisionRow, CorrectionRow, ReplyRow


@pytest.fixture
async def disliked(place, rows):
    await place.ask("What is <b>tea</b>?")
    await place.ada.react(place.last, "👎")
    await place.ask("Something else")
    return rows(ReplyRow)[0]


async def test_disliked_answers_are_listed_and_escaped(visitor, disliked):
    assert "has not answered yet" not in (await visitor.get("/answers")).text
    seen = await visitor.get("/answers?kind=disliked")
    assert disliked.answer in seen.text
    assert "&lt;b&gt;tea" in seen.html
    assert "<b>tea" not in seen.html
    assert "Something else" not in seen.text
    assert "no such answers" in (await visitor.get("/answers?kind=suggested")).text
    assert "Something else" in (await visitor.get("/answers?kind=nonsense&before=x")).text


async def test_an_empty_server_says_so(visitor):
    assert "has not answered yet" in (await visitor.get("/answers")).text


async def test_a_better_one_is_written(visitor, disliked, rows):
    await visitor.post(f"/answers/{disliked.id}/suggest", text="A hot drink.")
    (correction,) = rows(CorrectionRow)
    assert (correction.text, correction.basis) == ("A hot drink.", Basis.LOCAL)
    assert "A hot drink." in (await visitor.get(f"/answers/{disliked.id}")).text
    same = await visitor.post(f"/answers/{disliked.id}/suggest", text=disliked.answer)
    assert "Change something" in same.text


async def test_it_becomes_an_example_of_the_card(visitor, disliked, rows):
    await visitor.post(f"/answers/{disliked.id}/example")
    (dialogue,) = [example["dialogue"] for example in rows(CardRevisionRow)[-1].card["examples"]]
    assert dialogue[1] == disliked.answer


async def test_it_is_deleted_with_a_line_in_the_trail(visitor, disliked, rows):
    assert "Delete it for good" in (await visitor.get(f"/answers/{disliked.id}")).text
    await visitor.post(f"/answers/{disliked.id}/delete")
    assert disliked.id not in [row.id for row in rows(ReplyRow)]
    assert "was deleted" in (await visitor.get(f"/answers/{disliked.id}")).text
    assert rows(AuditRow)[-1].subject == f"answer {disliked.id}"


class TestOnDiscord:
    @pytest.fixture
    def fixed_basis(self):
        return None

    async def test_a_members_question_becomes_no_example_and_is_not_trained_on(self, visitor, disliked, rows):
        assert "Make it an example" not in (await visitor.get(f"/answers/{disliked.id}")).text
        assert "a member's" in (await visitor.post(f"/answers/{disliked.id}/example")).text
        assert rows(CardRevisionRow) == []
        await visitor.post(f"/answers/{disliked.id}/suggest", text="A hot drink.")
        assert rows(CorrectionRow)[0].basis is None

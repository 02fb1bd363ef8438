"""Documents are found by words and by meaning, only in their scope, and no longer once they are removed."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.database.enums import DocumentKind
from storage.database.tables import ChunkRow, DocumentRow, DocumentSpeakerRow
from storage.errors import DocumentRefused
from storage.knowledge.documents import (
    NewChunk,
    NewDocument,
    SearchScope,
    add_document,
    count_waiting,
    find_document,
    list_documents,
    refresh_document,
    remove_document,
    store_embeddings,
    titles_of,
    waiting_chunks,
)
from storage.knowledge.search import WORDS_WEIGHT, Passage, Question, in_context, search
from storage.knowledge.vectors import Matrix, VectorIndex, _nearest_in
from storage.knowledge.words import find_words
from storage.personalities.personalities import ensure_personality
from storage.privacy.erasure import delete_member
from storage.settings.sections import KnowledgeSettings
from tests.seeding import ALICE
from tests.word_encoder import WordEncoder

pytestmark = pytest.mark.both_databases

GUILD, OTHER_GUILD = 71, 72
GENERAL, STAFF, THREAD = 81, 82, 83
SETTINGS = KnowledgeSettings()


def add(
    session: Session,
    *texts: str,
    title: str = "Rules",
    settings: KnowledgeSettings = SETTINGS,
    **fields: Any,
) -> int:
    """Add a document with these passages; `fields` are those of NewDocument."""
    plain = {"guild_id": GUILD, "channel_id": None, "personality_id": None, "kind": DocumentKind.TEXT, "link": ""}
    content = {"text": "\n\n".join(texts), "chunks": [NewChunk(title, text) for text in texts]}
    who = {"media_type": "text/plain", "speakers": (), "added_by": "grace (1)"}
    return add_document(session, NewDocument(title=title, **plain | content | who | fields), settings)


def embed(session: Session, encoder: WordEncoder, limit: int = 1_000) -> int:
    waiting = waiting_chunks(session, encoder.name, limit)
    vectors = encoder.encode([one.chunk.text for one in waiting])
    store_embeddings(session, encoder.name, {one.id: row.tobytes() for one, row in zip(waiting, vectors, strict=True)})
    return len(waiting)


def look_up(
    session: Session,
    words: str,
    encoder: WordEncoder | None = None,
    *,
    earlier: str = "",
    index: VectorIndex | None = None,
    guild_id: int = GUILD,
    channels: Collection[int] = (GENERAL,),
) -> list[Passage]:
    """Return the passages found, best first."""
    scope = SearchScope(guild_id, frozenset(channels), ensure_personality(session))
    question = Question(words, None)
    if encoder is not None:
        alone, before = encoder.encode([words, earlier])
        question = Question(words, in_context(alone, before) if earlier else alone[None], encoder.name)
    return search(session, index or VectorIndex(), scope, question)


def ask(session: Session, words: str, encoder: WordEncoder | None = None, **where: Any) -> list[str]:
    """Return the texts found, best first."""
    return [passage.text for passage in look_up(session, words, encoder, **where)]


# Found


def test_words_are_found_whatever_their_ending(session: Session) -> None:
    add(session, "Dogs are welcome in the garden.", "The kitchen closes at nine.")
    assert ask(session, "is my dog welcome") == ["Dogs are welcome in the garden."]


def test_of_two_passages_with_the_same_words_the_shorter_comes_first(session: Session) -> None:
    add(session, "Ask grace about parking and about trains and buses.", title="Getting there")
    add(session, "It is behind the house.", title="Parking")
    assert ask(session, "parking")[0] == "It is behind the house."


@pytest.mark.parametrize("words", ["", "the of and", "???", '" OR NEAR(', "a:b AND c*", "🙂", "' & | ! <-> x"])
def test_odd_questions_are_not_query_syntax(session: Session, words: str) -> None:
    add(session, "Dogs are welcome.")
    assert ask(session, words) == []


def test_meaning_finds_what_words_do_not(session: Session) -> None:
    encoder = WordEncoder()
    add(session, "A kitten sleeps", "Bread and butter")
    embed(session, encoder)
    assert ask(session, "cat") == []
    assert ask(session, "cat", encoder)[0] == "A kitten sleeps"


def test_a_chunk_that_both_searches_find_comes_first(session: Session) -> None:
    encoder = WordEncoder()
    add(session, "one car", "an automobile", "car car parking lot with many things to say about other things")
    embed(session, encoder)
    assert ask(session, "car", encoder)[0] == "one car"


def test_rare_words_weigh_more(session: Session) -> None:
    add(session, "The pool opens at nine.", "The pool is warm.", "Nobody may bring peanuts.")
    add(session, "The pool opens again in spring.", guild_id=OTHER_GUILD)  # counts nowhere else
    first = look_up(session, "when does the pool open")
    assert [passage.words for passage in first] == [("pool", "open"), ("pool",)]
    # 3 passages: "pool" is in 2, "open" in 1.
    pool, opens = math.log(4 / 2.5), math.log(4 / 1.5)
    assert [passage.word_share for passage in first] == pytest.approx([1, pool / (pool + opens)])


def test_a_word_that_no_passage_has_counts_against_all(session: Session) -> None:
    add(session, "The pool opens at nine.", "The pool is warm.", "Nobody may bring peanuts.")
    (found,) = look_up(session, "do elephants like peanuts")
    assert found.words == ("peanuts",)
    assert found.word_share < 1 / 3


def test_words_of_most_of_many_passages_are_left_out(session: Session) -> None:
    id_ = add(session, "The pool opens at nine.", "The pool is warm.", "The pool is closed.", "No peanuts")
    assert list(find_words(session, [id_], "is the pool warm", most_holders=2).rarity) == ["warm"]


def test_shared_words_raise_a_passage(session: Session) -> None:
    encoder = WordEncoder()
    add(session, "Nobody may bring peanuts because one allergic member sits beside us", "An automobile")
    embed(session, encoder)
    by_word, by_meaning = look_up(session, "peanuts", encoder)[0], look_up(session, "car", encoder)[0]
    assert by_word.relevance == pytest.approx(by_word.similarity + WORDS_WEIGHT)
    assert by_meaning.relevance == by_meaning.similarity


def test_what_was_said_before_tells_what_a_question_is_about(session: Session) -> None:
    encoder = WordEncoder()
    add(session, "pool nine eight", "cinema ten late", "kitten sleeps")
    embed(session, encoder)
    assert ask(session, "and on sundays", encoder, earlier="when can we use the pool")[0].startswith("pool")
    assert ask(session, "and on sundays", encoder, earlier="when can we use the cinema")[0].startswith("cinema")
    changed = look_up(session, "where does the cat sleep", encoder, earlier="when can we use the pool")
    alone = look_up(session, "where does the cat sleep", encoder)
    assert (changed[0].text, changed[0].similarity) == (alone[0].text, pytest.approx(alone[0].similarity))


# In scope


def test_other_servers_see_nothing(session: Session) -> None:
    add(session, "Dogs are welcome.")
    assert ask(session, "dogs", guild_id=OTHER_GUILD) == []


def test_a_document_of_a_channel_is_found_there_and_in_its_threads(session: Session) -> None:
    add(session, "Staff meet on Monday.", channel_id=STAFF)
    assert ask(session, "when do staff meet") == []
    assert ask(session, "when do staff meet", channels=(THREAD, STAFF)) == ["Staff meet on Monday."]


def test_a_document_of_another_personality_is_not_found(session: Session) -> None:
    add(session, "Arr, treasure.", personality_id=ensure_personality(session, "pirate"))
    assert ask(session, "treasure") == []


def test_scope_holds_for_meaning_as_well(session: Session) -> None:
    encoder = WordEncoder()
    add(session, "A kitten sleeps", channel_id=STAFF)
    add(session, "Bread and butter")
    embed(session, encoder)
    assert "A kitten sleeps" not in ask(session, "cat", encoder)


# Kept in step


def test_a_removed_document_keeps_only_its_title(session: Session) -> None:
    encoder, index = WordEncoder(), VectorIndex()
    id_ = add(session, "Dogs are welcome.", title="House rules")
    embed(session, encoder)
    assert ask(session, "dogs", encoder, index=index)
    assert remove_document(session, GUILD, id_).title == "House rules"
    assert ask(session, "dogs", encoder, index=index) == []
    assert session.query(ChunkRow).count() == 0
    assert session.get_one(DocumentRow, id_).text == ""
    assert titles_of(session, [id_]) == [("House rules", "")]
    assert list_documents(session, GUILD) == []
    with pytest.raises(DocumentRefused, match=f"there is no document {id_}: it was removed, or never existed"):
        remove_document(session, GUILD, id_)


def test_ids_of_removed_chunks_do_not_come_back(session: Session) -> None:
    first = add(session, "Dogs are welcome.")
    old = session.scalars(select(ChunkRow.id)).all()
    remove_document(session, GUILD, first)
    add(session, "Cats are welcome.")
    assert not set(old) & set(session.scalars(select(ChunkRow.id)))


def test_a_refreshed_document_answers_with_its_new_text(session: Session) -> None:
    encoder, index = WordEncoder(), VectorIndex()
    id_ = add(session, "The fee is five pounds.")
    embed(session, encoder)
    ask(session, "fee", encoder, index=index)
    text_ = "The fee is six pounds."
    changed = refresh_document(session, id_, text_, [NewChunk("Rules", text_)], speakers=(), settings=SETTINGS)
    assert changed
    assert count_waiting(session, encoder.name) == 1
    embed(session, encoder)
    assert ask(session, "fee", encoder, index=index) == ["The fee is six pounds."]
    assert not refresh_document(session, id_, text_, [], speakers=(), settings=SETTINGS)


def test_a_document_that_was_just_removed_is_not_refreshed(session: Session) -> None:
    id_ = add(session, "Dogs are welcome.")
    remove_document(session, GUILD, id_)
    with pytest.raises(DocumentRefused, match="was just removed"):
        refresh_document(session, id_, "new", [NewChunk("", "new")], speakers=(), settings=SETTINGS)


def test_embeddings_of_a_document_that_was_just_removed_are_dropped(session: Session) -> None:
    encoder = WordEncoder()
    id_ = add(session, "Dogs are welcome.")
    waiting = waiting_chunks(session, encoder.name, 10)
    remove_document(session, GUILD, id_)
    store_embeddings(session, encoder.name, {waiting[0].id: encoder.encode(["Dogs"])[0].tobytes()})
    assert ask(session, "dogs", encoder) == []


def test_embedding_continues_and_starts_again_with_another_encoder(session: Session) -> None:
    old, new = WordEncoder("words 1"), WordEncoder("words 2")
    add(session, "one cat", "two dogs", "three birds")
    assert embed(session, old, limit=2) == 2
    assert count_waiting(session, old.name) == 1
    assert embed(session, old) == 1
    assert count_waiting(session, new.name) == 3
    assert embed(session, new, limit=1) == 1
    assert "one cat" in ask(session, "kitten", new)
    assert embed(session, new) == 2


def test_a_member_who_deletes_their_data_takes_their_messages_along(session: Session) -> None:
    ensure_personality(session)
    add(session, "I am alice and this is my secret.", speakers=[ALICE])
    other = add(session, "Dogs are welcome.")
    delete_member(session, ALICE)
    assert [document.id for document in list_documents(session, GUILD)] == [other]
    assert session.scalars(select(DocumentSpeakerRow)).all() == []


# Refused


def test_the_same_text_is_taken_once_in_a_scope(session: Session) -> None:
    first = add(session, "Dogs are welcome.")
    with pytest.raises(DocumentRefused, match=rf"already stored as document {first} \(Rules\)"):
        add(session, "Dogs are welcome.", title="Another title")
    add(session, "Dogs are welcome.", channel_id=STAFF)
    add(session, "Dogs are welcome.", guild_id=OTHER_GUILD)


def test_limits_are_per_server(session: Session) -> None:
    few = SETTINGS.model_copy(update={"max_documents": 1, "max_chunks": 2})
    with pytest.raises(DocumentRefused, match=r"has 3 passages and this server already has 0; the limit"):
        add(session, "a", "b", "c", settings=few)
    add(session, "a", settings=few)
    add(session, "a", guild_id=OTHER_GUILD, settings=few)
    with pytest.raises(DocumentRefused, match=r"this server has reached its limit of documents, 1: remove one first"):
        add(session, "b", settings=few)


def test_a_document_of_another_server_does_not_exist(session: Session) -> None:
    id_ = add(session, "Dogs are welcome.")
    with pytest.raises(DocumentRefused):
        find_document(session, OTHER_GUILD, id_)


def test_a_listed_document_says_what_waits(session: Session) -> None:
    add(session, "one", "two")
    embed(session, WordEncoder(), limit=1)
    document = list_documents(session, GUILD)[0]
    assert (document.chunks, document.waiting, document.chars) == (2, 1, 8)


def test_the_nearest_of_many_chunks_are_those_of_a_plain_sort() -> None:
    rng = np.random.default_rng(7)
    vectors = rng.normal(size=(1_000, 384)).astype("<f4")
    ids = np.arange(len(vectors))
    matrix = Matrix(("words 1", ((1, 1), (2, 1))), ids, 1 + ids % 2, vectors)
    for query in vectors[:20]:
        order = np.argsort(-(vectors @ query), kind="stable")
        assert _nearest_in(matrix, [1, 2], query, 10) == order[:10].tolist()
        assert _nearest_in(matrix, [2], query, 10) == order[order % 2 == 1][:10].tolist()
        assert len(_nearest_in(matrix, [2], query, 2_000)) == 500

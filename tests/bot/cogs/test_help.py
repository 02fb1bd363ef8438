"""`/help` knows who asks, and where."""

from __future__ import annotations


def shown(result) -> str:
    message = result.response
    return "\n".join([message.content, *(f"{embed.title}\n{embed.description}" for embed in message.embeds)])


async def test_a_member_sees_what_members_may_use_and_an_admin_sees_all(place):
    result = await place.ada.slash(place.channel, "help")
    assert result.response.flags.ephemeral
    to_member = shown(result)
    assert "Mention me, reply to me" in to_member
    assert "`/choose` " in to_member
    assert "`/privacy` " in to_member
    assert "*What became of my vote?*" in to_member
    assert "/version" not in to_member

    to_admin = shown(await place.grace.slash(place.channel, "help"))
    assert to_admin.startswith(to_member)
    assert "For admins" in to_admin
    assert "`/version " in to_admin
    assert "`/knowledge add · list · search` " in to_admin


async def test_in_a_direct_message_there_are_only_commands_that_work_there(place):
    alone = shown(await place.ada.user.slash("help"))
    assert "`/privacy` " in alone
    assert "`/taste`" not in alone

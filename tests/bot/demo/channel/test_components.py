"""Controls and layouts on the demo's page: what a bot shows in messages and forms can be seen and used there."""

from __future__ import annotations

import io
import re

import discord
import pytest
import pytest_asyncio

from tests.bot.attachments.conftest import picture
from tests.bot.demo.channel.conftest import articles, articles_html


class Everything(discord.ui.Modal, title="Everything"):
    """A form with every control that Discord has."""

    words = discord.ui.TextDisplay("Choose **well**.")
    name = discord.ui.Label(text="Name", component=discord.ui.TextInput(custom_id="name", default="Ada"))
    mood = discord.ui.Label(
        text="Mood",
        component=discord.ui.RadioGroup(
            custom_id="mood",
            options=[discord.RadioGroupOption(label=one, value=one.lower()) for one in ("Calm", "Merry")],
        ),
    )
    topics = discord.ui.Label(
        text="Topics",
        description="Any of them",
        component=discord.ui.CheckboxGroup(
            custom_id="topics",
            options=[discord.CheckboxGroupOption(label=one, value=one.lower()) for one in ("Tea", "Sea", "Fog")],
            required=False,
        ),
    )
    agreed = discord.ui.Label(text="Agreed", component=discord.ui.Checkbox(custom_id="agreed"))


class Choosers(discord.ui.Modal, title="Choosers"):
    place = discord.ui.Label(text="Where", component=discord.ui.ChannelSelect(custom_id="place"))
    who = discord.ui.Label(text="Who", component=discord.ui.UserSelect(custom_id="who", max_values=2, required=False))
    file = discord.ui.Label(text="File", component=discord.ui.FileUpload(custom_id="file", required=False))


class Wizard(discord.ui.LayoutView):
    """A message laid out by the bot, such as a guided set-up."""

    def __init__(self) -> None:
        super().__init__(timeout=None)
        self.said: list[object] = []
        self.modal: discord.ui.Modal = Everything()
        accessory = self._noting(discord.ui.Button(label="Open", emoji="📋", custom_id="open"), self._open)
        where = discord.ui.ChannelSelect(
            custom_id="where", placeholder="A channel", channel_types=[discord.ChannelType.text]
        )
        tones = discord.ui.Select(
            custom_id="tones",
            placeholder="Tones",
            max_values=2,
            options=[
                discord.SelectOption(label="Dry", value="dry", emoji="🌵", description="No jokes"),
                discord.SelectOption(label="Warm", value="warm", default=True),
            ],
        )
        self.add_item(
            discord.ui.Container(
                discord.ui.Section("# Set me up", "In **three** steps", accessory=accessory),
                discord.ui.Separator(),
                discord.ui.ActionRow(self._noting(where)),
                discord.ui.ActionRow(self._noting(tones)),
                discord.ui.ActionRow(self._noting(discord.ui.RoleSelect(custom_id="role", min_values=0))),
                discord.ui.ActionRow(self._noting(discord.ui.MentionableSelect(custom_id="any", disabled=True))),
                discord.ui.MediaGallery(discord.MediaGalleryItem("attachment://sunset.png", description="A sunset")),
                discord.ui.File("attachment://tea.txt"),
                accent_colour=0x2A50C8,
            )
        )

    def _noting(self, item, callback=None):
        async def note(interaction: discord.Interaction) -> None:
            self.said += [str(value) for value in item.values]
            await interaction.response.defer()

        item.callback = callback or note
        return item

    async def _open(self, interaction: discord.Interaction) -> None:
        async def submitted(sent: discord.Interaction) -> None:
            labels = [item for item in self.modal.children if isinstance(item, discord.ui.Label)]
            self.said.append([_plain(label.component) for label in labels])
            await sent.response.defer()

        self.modal.on_submit = submitted
        await interaction.response.send_modal(self.modal)


def _plain(control: discord.ui.Item) -> object:
    value = control.values if hasattr(control, "values") else control.value
    return [getattr(one, "filename", str(one)) for one in value] if isinstance(value, list) else value


@pytest_asyncio.fixture
async def wizard(world) -> Wizard:
    view = Wizard()
    files = [discord.File(io.BytesIO(picture()), "sunset.png"), discord.File(io.BytesIO(b"Tea"), "tea.txt")]
    await world.env.bot.get_channel(world.lounge.id).send(view=view, files=files)
    await world.env.settle()
    return view


@pytest.fixture
def use(channel, world):
    """Use a control of the newest message, as ada."""

    async def act(**fields):
        return await channel.act("ada", world.lounge.last_message.id, **fields)

    return act


async def test_a_layout_is_drawn(channel, wizard):
    (shown,) = articles_html(await channel.look("ada"))
    assert "<h4>Set me up</h4>" in shown
    assert "<strong>three</strong>" in shown
    assert 'fill="#2a50c8"' in shown
    assert re.search(r'<option value="\d+">#pirates</option>', shown)
    assert "One long talk" not in shown  # a thread is no text channel
    assert 'value="warm" checked' in shown
    assert "<legend>Warm</legend>" in shown  # as Discord shows what is chosen in place of the field's own words
    assert not re.search("<button[^>]*>Choose", re.sub("<noscript>.*?</noscript>", "", shown))  # a tick counts at once
    assert "🌵 Dry" in shown
    assert re.search(r'<img src="/channel/ada/lounge/messages/\d+/files/\d+" alt="A sunset">', shown)
    assert shown.count("tea.txt") == 1
    assert 'id="open"' not in shown


async def test_selects_send_what_was_chosen(world, wizard, use):
    await use(choose="where", value=str(world.pirates.id))
    await use(choose="tones", value=["dry", "warm"])
    await use(choose="role", value="")
    assert wizard.said == ["pirates", "dry", "warm"]
    assert "not among the choices any more" in (await use(choose="where", value="1")).text
    assert "not among the choices any more" in (await use(choose="nowhere", value="1")).text
    assert "between 1 and 2" in (await use(choose="tones")).text
    assert "disabled" in (await use(choose="any", value=str(world.people["bo"].id))).text


async def test_a_form_has_every_control(channel, wizard, use):
    form = await use(press="open")
    assert "Choose <strong>well</strong>." in form.html
    assert '<input type="radio" name="field.mood" value="merry" required' in form.html
    await channel.submit("ada", form, name="Bo", mood="merry", topics=["tea", "fog"], agreed="True")
    assert wizard.said == [["Bo", "merry", ["tea", "fog"], True]]


async def test_a_form_chooses_people_places_and_files(channel, world, wizard, use):
    wizard.modal = Choosers()
    key = (await use(press="open")).value_of("key")
    given = {"key": key, "field.place": str(world.lounge.id), "field.who": str(world.people["bo"].id)}
    refused = await channel.browser.post("/channel/ada/lounge/form", **given | {"field.place": "1"})
    assert "not among the choices any more" in refused.text
    await channel.browser.upload("/channel/ada/lounge/form", ("tea.txt", b"Tea"), field="field.file", **given)
    assert wizard.said == [[["lounge"], ["bo"], ["tea.txt"]]]


async def test_a_reply_to_a_layout_quotes_its_words(channel, wizard, use, world):
    shown = await channel.look("ada", query=f"?reply={world.lounge.last_message.id}")
    assert "↪ Reactune: # Set me up In **three** steps" in shown.text
    assert articles(shown)

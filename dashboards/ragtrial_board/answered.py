"""One answer with its sources, and the votes on both."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import streamlit as st

from ragtrial.domain.live_trial import VOTE_TAGS, Thumb
from ragtrial_board.asking import Answered, Service, Side, Source, Vote
from ragtrial_board.marked import marked
from ragtrial_board.saving import Slot, choice_button, settle, slot_of
from ragtrial_board.saying import escaped, plain, unmarked

LONGEST_COMMENT = 4000
WITHDRAWN = Vote(thumb="withdrawn")

_ASKED: dict[Thumb, str] = {"up": "What is good about it? (optional)", "down": "What is wrong with it? (optional)"}
_THUMBS: dict[Thumb, str] = {"up": "a good answer", "down": "a poor answer", "withdrawn": "your vote is withdrawn."}


def show_answered(answered: Answered, service: Service, *, shortcuts: bool) -> None:
    """The answer, the vote on it, and its sources with theirs."""
    show_question(answered.query)
    show_answer(answered, title="Answer")
    if not answered.logged:
        st.html('<p class="t-note">This answer was not recorded, so it can\'t be voted on and is gone when you leave this page.</p>')
        show_sources(answered.sources)
        return
    _vote(answered, service, shortcuts=shortcuts)
    if answered.sources:
        st.html(f'<h2 class="t-head">Sources</h2><p class="t-note">{escaped(_counted(answered.sources))}</p>')
    for number, source in enumerate(answered.sources, 1):
        with st.container(key=f"source-{number}", gap="xsmall"):
            st.html(source_html(number, source))
            _vote_on_source(answered.trial_id, number, source, service)


def show_question(query: str | None) -> None:
    """What was asked, as it was typed."""
    text = plain(query) if query is not None else '<p class="t-note">The text of your question was not kept.</p>'
    st.html(f'<section class="t-question" aria-label="Your question"><h2>Your question</h2>{text}</section>')


def show_answer(side: Answered | Side, *, title: str) -> None:
    """The text of an answer, with its marks shown as what they mean."""
    if side.answer is None:
        text = '<p class="t-note">The text of this answer was erased.</p>'
    elif side.abstained:
        text = '<p class="t-note">No answer: the documents hold none that fits. The passages that were looked at are below.</p>'
    elif not side.answer:
        text = '<p class="t-note">Only passages are looked up here; they are below.</p>'
    else:
        text = marked(side.answer)
    st.html(f'<section class="t-answer" aria-label="{escaped(title)}"><h2>{escaped(title)}</h2>{text}</section>')


def show_sources(sources: Sequence[Source], *, of: str = "") -> None:
    """Sources to read, without votes; `of` says whose."""
    if sources:
        shown = "".join(source_html(number, source) for number, source in enumerate(sources, 1))
        title = f"{of}: sources" if of else "Sources"
        st.html(f'<h2 class="t-head">{escaped(title)}</h2><p class="t-note">{escaped(_counted(sources))}</p>{shown}')


def source_html(number: int, source: Source) -> str:
    """A passage: its title, whether the answer rests on it, and its text, folded."""
    cited = '<span class="t-cited"><span aria-hidden="true">❝</span> cited</span>' if source.cited else ""
    title = f'<bdi class="t-title">{escaped(source.title or "Without a title")}</bdi>'
    return (
        f'<article class="t-source"><details><summary><span class="t-number">{number}</span>{title}{cited}</summary>'
        f"{plain(source.text)}</details></article>"
    )


def _counted(sources: Sequence[Source]) -> str:
    cited = sum(source.cited for source in sources)
    rests = "the answer cites none of them" if not cited else f"the answer cites {cited}"
    return f"{len(sources)} passage{'' if len(sources) == 1 else 's'} from the documents; {rests}."


def _vote(answered: Answered, service: Service, *, shortcuts: bool) -> None:
    name = answered.trial_id
    slot = slot_of(name, answered.vote)
    chosen = _chosen(slot)

    def sending(vote: Vote, key: str) -> None:
        service.vote(name, None, vote, key=key)

    with st.container(key="vote", gap="small"):
        above = st.empty()
        if answered.solicit_rating and chosen is None:
            above.html('<p class="t-please">Please rate this answer: it is one of the few that we ask about.</p>')
        with st.container(horizontal=True, gap="small"):
            _thumb_button("Good answer", "up", slot, name, shortcut="G" if shortcuts else None)
            _thumb_button("Poor answer", "down", slot, name, shortcut="P" if shortcuts else None)
            _withdraw_button(slot, name)
        settle(slot, sending, _words, name=name)
        if chosen is not None:
            _details(slot, name)


def _vote_on_source(trial_id: str, number: int, source: Source, service: Service) -> None:
    name = f"{trial_id}-{number}"
    slot = slot_of(name, source.vote)

    def sending(vote: Vote, key: str) -> None:
        service.vote(trial_id, source.passage_id, vote, key=key)

    with st.container(horizontal=True, gap="small", key=f"vote-{number}"):
        _thumb_button(f"Source {number} helps", "up", slot, name, small=True)
        _thumb_button(f"Source {number} does not", "down", slot, name, small=True)
        _withdraw_button(slot, name)
    settle(slot, sending, partial(_words_on_source, number), name=name)


def _thumb_button(label: str, thumb: Thumb, slot: Slot[Vote], name: str, *, shortcut: str | None = None, small: bool = False) -> None:
    choice_button(
        label,
        key=f"{thumb}-{name}",
        chosen=_chosen(slot) == thumb,
        on_click=_give,
        args=(slot, thumb),
        type="tertiary" if small else "secondary",
        icon=f":material/thumb_{thumb}:",
        shortcut=shortcut,
    )


def _withdraw_button(slot: Slot[Vote], name: str) -> None:
    if _chosen(slot) is not None:
        st.button("Withdraw", key=f"withdraw-{name}", type="tertiary", icon=":material/undo:", on_click=slot.say, args=(WITHDRAWN,))


def _give(slot: Slot[Vote], thumb: Thumb) -> None:
    """A thumb; a comment stays, and tags stay with the thumb that they were given with: what is wrong is asked of poor answers alone."""
    before = slot.latest
    kept = before if before is not None and before.thumb != "withdrawn" else Vote(thumb=thumb)
    slot.say(replace(kept, thumb=thumb, tags=kept.tags if kept.thumb == thumb else ()))


def _details(slot: Slot[Vote], name: str) -> None:
    """Why: tags where the answer is poor, and a comment."""
    said = slot.latest or Vote(thumb="up")
    tags, comment = f"tags-{name}", f"comment-{name}"
    with st.form(f"details-{name}", border=False):
        asked = _ASKED[said.thumb]
        options = tuple(dict.fromkeys((*(VOTE_TAGS if said.thumb == "down" else ()), *said.tags)))
        if options:
            st.pills(asked, options, selection_mode="multi", default=said.tags, format_func=unmarked, key=tags)
            asked = "Comment (optional)"
        st.text_area(asked, value=said.comment, max_chars=LONGEST_COMMENT, height=100, key=comment)
        st.form_submit_button("Save details", on_click=_tell, args=(slot, tags, comment))


def _tell(slot: Slot[Vote], tags: str, comment: str) -> None:
    before = slot.latest
    if before is not None:
        slot.say(replace(before, tags=tuple(st.session_state.get(tags, ())), comment=st.session_state[comment].strip()))


def _chosen(slot: Slot[Vote]) -> Thumb | None:
    """The thumb that was given last; None where there is none, or it was withdrawn."""
    latest = slot.latest
    return None if latest is None or latest.thumb == "withdrawn" else latest.thumb


def _words(vote: Vote) -> str:
    if vote.thumb == "withdrawn":
        return _THUMBS["withdrawn"]
    tags = f"{len(vote.tags)} tag{'' if len(vote.tags) == 1 else 's'}" if vote.tags else ""
    more = " and ".join(part for part in (tags, "a comment" if vote.comment else "") if part)
    return _THUMBS[vote.thumb] + (f", with {more}" if more else "") + "."


def _words_on_source(number: int, vote: Vote) -> str:
    if vote.thumb == "withdrawn":
        return _THUMBS["withdrawn"]
    return f"source {number} {'helps' if vote.thumb == 'up' else 'does not help'}."

"""The real `openai` client against the service: a chat front end takes part in the experiment without a change of code."""

from collections.abc import Iterator

import httpx
import openai
import pytest

from live_service import Live, live, live_experiment, make_key

QUESTION = "what is the anchor of pw0003"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(live_experiment(tmp_path_factory.mktemp("openai"))) as served:
        yield served


@pytest.fixture(scope="module")
def client(service: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.keys["operator"], max_retries=0) as one:
        yield one


def asked(text: str = QUESTION) -> list:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "earlier"}, {"role": "user", "content": text}]


def test_an_answer_is_a_trial_that_votes_refer_to(client: openai.OpenAI, service: Live) -> None:
    answer = client.chat.completions.create(model="ragtrial", messages=asked(), user="user-1")
    assert answer.object == "chat.completion"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    beside = answer.model_extra["ragtrial"]
    assert beside["trial_id"] == answer.id
    assert beside["sources"]
    with service.client("operator") as http:
        assert http.post("/v1/feedback", json={"trial_id": answer.id, "thumb": "up"}).json() == {"outcome": "recorded"}
        logged = http.get(f"/v1/trials/{answer.id}").json()
    assert logged["query"] == QUESTION
    assert logged["assignment_reason"] == "split"
    assert logged["arm"] == beside["arm"]
    assert [vote["thumb"] for vote in logged["votes"]] == ["up"]


def test_a_streamed_answer_is_the_same_in_pieces(client: openai.OpenAI) -> None:
    whole = client.chat.completions.create(model="ragtrial", messages=asked(), user="user-1")
    chunks = list(client.chat.completions.create(model="ragtrial", messages=asked(), user="user-1", stream=True))
    assert len(chunks) > 3
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert chunks[-1].model_extra["ragtrial"]["trial_id"] == chunks[0].id
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)


def test_usage_comes_in_a_last_chunk_where_it_is_asked_for(client: openai.OpenAI) -> None:
    options: openai.types.chat.ChatCompletionStreamOptionsParam = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="ragtrial", messages=asked(), stream=True, stream_options=options))
    assert chunks[-1].choices == []
    assert chunks[-1].usage is None, "an extractive answer takes no tokens that anyone counted, and no number is made up"
    assert all(chunk.choices for chunk in chunks[:-1])


def test_the_streaming_helper_of_the_client_works(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="ragtrial", messages=asked(), user="user-1") as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.content


def test_the_units_precedence_is_the_trusted_header_then_metadata_then_user_then_safety_identifier(service: Live) -> None:
    trusted = make_key(service.path, "operator", may_assert_user=True)
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=trusted, max_retries=0)
    proxied = {"X-User-Id": "d"}
    units = [
        ({"metadata": {"user_id": "a"}, "user": "b", "safety_identifier": "c"}, "a"),
        ({"metadata": {"other": "x"}, "user": "b", "safety_identifier": "c"}, "b"),
        ({"safety_identifier": "c"}, "c"),
        ({"extra_headers": proxied}, "d"),
        ({"metadata": {"user_id": "a"}, "user": "b", "extra_headers": proxied}, "d"),  # a user can write a body, and not this header
    ]
    arms = {}
    for given, unit in units:
        answer = client.chat.completions.create(model="ragtrial", messages=asked(), **given)
        native = httpx.post(
            f"{service.url}/v1/ask", headers={"Authorization": f"Bearer {trusted}"}, json={"query": QUESTION, "unit": unit}
        ).json()
        arms[unit] = native["arm"]
        assert answer.model_extra["ragtrial"]["arm"] == native["arm"]
    assert len(set(arms.values())) == 2, "units that all fall into one arm would prove nothing"


def test_without_a_unit_the_baseline_answers_outside_the_experiment(client: openai.OpenAI, service: Live) -> None:
    for _ in range(3):
        answer = client.chat.completions.create(model="ragtrial", messages=asked())
        with service.client("operator") as http:
            logged = http.get(f"/v1/trials/{answer.id}").json()
        assert (logged["arm"], logged["assignment_reason"]) == ("baseline", "no unit")
        assert answer.model_extra["ragtrial"]["has_unit"] is False
    assert client.chat.completions.create(model="ragtrial", messages=asked(), user="ann").model_extra["ragtrial"]["has_unit"] is True


def test_parts_of_text_are_understood_and_others_are_refused(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": "what is the anchor"}, {"type": "text", "text": "of pw0003"}]
    assert client.chat.completions.create(model="ragtrial", messages=[{"role": "user", "content": parts}]).id
    picture = [{"type": "image_url", "image_url": {"url": "https://example.org/x.png"}}]
    with pytest.raises(openai.BadRequestError, match="only text"):
        client.chat.completions.create(model="ragtrial", messages=[{"role": "user", "content": picture}])


def test_what_the_service_does_not_know_is_accepted_and_has_no_effect(client: openai.OpenAI) -> None:
    extra = {"brand_new": {"setting": True}}
    assert client.chat.completions.create(model="ragtrial", messages=asked(), temperature=0.3, max_tokens=5, seed=1, extra_body=extra).id


def test_one_model_is_listed_and_the_arms_are_not(client: openai.OpenAI, service: Live) -> None:
    assert [model.id for model in client.models.list()] == ["ragtrial"]
    assert client.models.retrieve("ragtrial").owned_by == "ragtrial"
    with service.client("tester") as tester:
        assert [model["experiment"] for model in tester.get("/v1/models").json()["data"]] == ["small"]
    assert client.chat.completions.create(model="small", messages=asked()).model == "small", "the experiment's name will do as well"
    for name in ("custom", "gpt-4o"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve(name)
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=name, messages=asked())


def test_errors_are_those_that_the_client_knows(client: openai.OpenAI, service: Live) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="ragtrial", messages=asked(), n=2)
    assert caught.value.param == "n"
    assert caught.value.type == "invalid_request_error"
    for messages in ([], [{"role": "system", "content": "x"}], [{"role": "user", "content": ""}], [{"role": "nobody", "content": "x"}]):
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="ragtrial", messages=messages)
    with pytest.raises(openai.BadRequestError, match="user_id"):
        client.chat.completions.create(model="ragtrial", messages=asked(), extra_body={"metadata": {"user_id": 7}})
    with pytest.raises(openai.AuthenticationError) as refused:
        openai.OpenAI(base_url=f"{service.url}/v1", api_key="rt_no_key", max_retries=0).models.list()
    assert refused.value.code == "invalid_api_key"
    reader = make_key(service.path, "viewer")
    with pytest.raises(openai.PermissionDeniedError):
        openai.OpenAI(base_url=f"{service.url}/v1", api_key=reader, max_retries=0).models.list()


def test_the_same_idempotency_key_gets_the_same_trial(client: openai.OpenAI) -> None:
    headers = {"Idempotency-Key": "chat-1"}
    first, second = (
        client.chat.completions.create(model="ragtrial", messages=asked(), user="user-1", extra_headers=headers) for _ in range(2)
    )
    assert first.id == second.id
    assert first.choices[0].message.content == second.choices[0].message.content


async def _async_stream(service: Live) -> str:
    async with openai.AsyncOpenAI(base_url=f"{service.url}/v1", api_key=service.keys["tester"], max_retries=0) as client:
        stream = await client.chat.completions.create(model="ragtrial", messages=asked(), user="user-1", stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


def test_the_asynchronous_client_streams_and_testers_see_no_arm(service: Live) -> None:
    import asyncio

    assert asyncio.run(_async_stream(service))
    viewer = openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.keys["tester"], max_retries=0)
    assert viewer.chat.completions.create(model="ragtrial", messages=asked(), user="user-1").model_extra["ragtrial"]["arm"] is None

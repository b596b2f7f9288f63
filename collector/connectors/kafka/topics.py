"""The connector's topics on the brokers: `check` compares them with the configuration, `create` makes those that miss.

Neither alters a topic that exists.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    KafkaError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from collector.connectors.kafka.connection import connection
from collector.connectors.kafka.obstacle import obstacle
from collector.connectors.kafka.topic_plan import Difference, TopicPlan, plan
from collector.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Sequence

    from collector.batch import Signal
    from collector.component.connector import Reader
    from collector.connectors.kafka.options import KafkaOptions

_CLOSE_WITHIN_S = 1.0
_VISIBLE_WITHIN_S = 10.0
# Any broker is asked, and one that just went away is still on the list for some seconds.
_ATTEMPTS = 5
_LOOK_AGAIN_S = 0.1
_LONGEST_ANSWER = 300
_OK = 0
_DENIED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)
_FAILURES = (KafkaError, OSError, TimeoutError)

_Settings = dict[str, str] | type[BrokerResponseError]
State = Literal["exists", "created", "absent", "refused"]


@dataclass(frozen=True, slots=True)
class TopicState:
    """What `create` found or did. `absent`: it would be created; `refused`: it can't be, for `reason`."""

    plan: TopicPlan
    state: State
    differences: tuple[Difference, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """A topic's metadata: error code, number of partitions, replicas of the partition that has fewest."""

    code: int
    partitions: int
    replicas: int
    led: bool


@asynccontextmanager
async def administration(config: KafkaOptions) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for `check` and `create`. Raises `StorageError` with what is in the way, `ConfigError` for TLS files."""
    arguments = await asyncio.to_thread(connection, config)
    admin = AIOKafkaAdminClient(**arguments)
    try:
        try:
            await admin.start()
        except _FAILURES:
            raise StorageError(await obstacle(arguments)) from None
        yield admin
    finally:
        # A frozen broker doesn't answer the end of TLS either, for which asyncio would wait half a minute.
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_WITHIN_S):
                await admin.close()


async def check(
    config: KafkaOptions,
    signals: Collection[Signal],
    readers: Collection[Reader] = (),
    *,
    admin: AIOKafkaAdminClient | None = None,
) -> list[Difference]:
    """How the topics of `plan` differ from the configuration.

    Asks for nothing that would make a broker create a topic. Settings that the brokers don't show to us are left out,
    with a `Difference` of the gravity `UNCHECKED`. `admin` is a started client; without one, one is made for the
    occasion. Raises `StorageError` when no broker answers.
    """
    if admin is None:
        async with administration(config) as own:
            return await check(config, signals, readers, admin=own)
    states = await _look(admin, config, plan(config, signals, readers))
    return [difference for state in states for difference in _differences(state)]


async def create(
    config: KafkaOptions,
    signals: Collection[Signal],
    readers: Collection[Reader] = (),
    *,
    admin: AIOKafkaAdminClient | None = None,
    dry_run: bool = False,
) -> list[TopicState]:
    """Make the topics that are missing, and return when every one can be written to.

    With `dry_run` the brokers are asked whether they would make them. Raises as `check`.
    """
    if admin is None:
        async with administration(config) as own:
            return await create(config, signals, readers, admin=own, dry_run=dry_run)
    states = await _look(admin, config, plan(config, signals, readers))
    missing = [state.plan for state in states if state.state == "absent"]
    if not missing:
        return states
    answers = await _make(admin, missing, dry_run=dry_run)
    states = [answers.get(state.plan.name, state) for state in states]
    if not dry_run:
        await _until_led(admin, [state.plan.name for state in states if state.state == "created"])
    # Somebody else may have made one meanwhile, and otherwise.
    rivals = [state.plan for state in states if state.state == "exists" and state.plan in missing]
    again = {state.plan.name: state for state in (await _look(admin, config, rivals) if rivals else ())}
    return [again.get(state.plan.name, state) for state in states]


def _differences(state: TopicState) -> Iterable[Difference]:
    return (state.plan.missing(),) if state.state == "absent" else state.differences


async def _look(admin: AIOKafkaAdminClient, config: KafkaOptions, plans: Sequence[TopicPlan]) -> list[TopicState]:
    """Each topic as it is: exists, absent, or (hidden from us) refused."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            found = await _metadata(admin, [each.name for each in plans])
            present = [each for each in plans if found[each.name].code == _OK]
            settings = await _settings(admin, present)
            break
        except _FAILURES as error:
            if not left:
                raise StorageError("no broker answers what the topics are") from error
            await asyncio.sleep(_LOOK_AGAIN_S)
    return [_state(each, found[each.name], settings.get(each.name, {}), config.brokers[0]) for each in plans]


def _state(each: TopicPlan, found: _Found, settings: _Settings, broker: str) -> TopicState:
    kind = for_code(found.code)
    if UnknownTopicOrPartitionError in (kind, settings):  # the latter where it was deleted in between
        return TopicState(each, "absent")
    if kind in _DENIED:
        hidden = each.hidden()
        return TopicState(each, "refused", (hidden,), f"{hidden.what}: {hidden.remedy}")
    if found.code != _OK:
        raise StorageError(f"topic {each.name} isn't available now ({_words(kind)})")
    differences = each.shape_differences(found.partitions, found.replicas)
    if isinstance(settings, type):
        differences.append(each.unchecked(_words(settings)))
    else:
        differences += each.setting_differences(settings, found.replicas, broker)
    return TopicState(each, "exists", tuple(differences))


async def _metadata(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, _Found]:
    # What aiokafka offers for this lets a broker create the topics that it is asked about, as it likes them.
    request = MetadataRequest(list(names), allow_auto_topic_creation=False)
    answer = (await admin._send_request(request)).to_object()  # noqa: SLF001 - nothing public takes the request
    found = {}
    for topic in answer["topics"]:
        partitions = topic["partitions"]
        replicas = min((len(each["replicas"]) for each in partitions), default=0)
        led = all(each["leader"] >= 0 for each in partitions)
        found[topic["topic"]] = _Found(topic["error_code"], len(partitions), replicas, led)
    absent = _Found(UnknownTopicOrPartitionError.errno, 0, 0, led=False)
    return {name: found.get(name, absent) for name in names}


async def _settings(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan]) -> dict[str, _Settings]:
    """The settings of each topic that its rules are about, or the error that a broker gives instead."""
    if not plans:
        return {}
    resources = [
        ConfigResource(ConfigResourceType.TOPIC, each.name, dict.fromkeys((*each.rules, "min.insync.replicas")))
        for each in plans
    ]
    found: dict[str, _Settings] = {}
    for answer in await admin.describe_configs(resources):
        for code, _, _, name, entries in answer.resources:
            known = {key: value for key, value, *_ in entries if value is not None}
            found[name] = for_code(code) if code != _OK else known
    return found


async def _make(admin: AIOKafkaAdminClient, plans: Sequence[TopicPlan], *, dry_run: bool) -> dict[str, TopicState]:
    topics = [
        NewTopic(each.name, each.partitions, each.replication_factor, topic_configs=dict(each.settings))
        for each in plans
    ]
    try:
        answer = await admin.create_topics(topics, validate_only=dry_run)
    except (*_FAILURES, AttributeError) as error:  # the last is aiokafka's way to say that it knows no controller
        raise StorageError("no broker answers whether the topics were created") from error
    by_name = {each.name: each for each in plans}
    states = {}
    for name, code, *message in answer.topic_errors:
        kind = for_code(code)
        made = TopicState(by_name[name], "absent" if dry_run else "created")
        if kind is TopicAlreadyExistsError:
            made = replace(made, state="exists")
        elif code != _OK:
            made = replace(made, state="refused", reason=_refusal(kind, message[0] if message else None))
        states[name] = made
    return states


def _refusal(kind: type[BrokerResponseError], message: str | None) -> str:
    if kind in _DENIED:
        return "denied: allow Create on it, or on the cluster, to this user"
    text = "".join(char for char in message or "" if char.isprintable())[:_LONGEST_ANSWER]
    return f"{_words(kind)}: {text}" if text else _words(kind)


async def _until_led(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Wait until each partition has a leader; a start right after this must not find a topic missing."""
    deadline = asyncio.get_running_loop().time() + _VISIBLE_WITHIN_S
    while asyncio.get_running_loop().time() < deadline:
        try:
            found = await _metadata(admin, names)
        except _FAILURES as error:
            raise StorageError("the topics were created, but no broker answers any more") from error
        if all(each.code == _OK and each.led for each in found.values()):
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


def _words(kind: type[BrokerResponseError]) -> str:
    return str(kind.message).replace("_", " ").lower()

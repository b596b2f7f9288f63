"""The Kafka that other tests rely on does what it says."""

import uuid

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic


async def _topic(bootstrap, replicas=1, **how):
    name = f"t-{uuid.uuid4().hex}"
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, **how)
    await admin.start()
    try:
        await admin.create_topics(
            [NewTopic(name, 2, replicas, topic_configs={"min.insync.replicas": str(min(2, replicas))})]
        )
    finally:
        await admin.close()
    return name


async def _produce(bootstrap, topic, *values, **how):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, **how)
    await producer.start()
    try:
        for value in values:
            await producer.send_and_wait(topic, value)
    finally:
        await producer.stop()


async def _consume(bootstrap, topic, count, **how):
    group = f"g-{uuid.uuid4().hex}"
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=group,
        auto_offset_reset="earliest",
        session_timeout_ms=1000,
        heartbeat_interval_ms=300,
        **how,
    )
    await consumer.start()
    try:
        return sorted([(await consumer.getone()).value for _ in range(count)])
    finally:
        await consumer.stop()


async def test_one_broker_gives_back_what_it_took(kafka):
    topic = await _topic(kafka.bootstrap)
    await _produce(kafka.bootstrap, topic, b"a", b"b")
    assert await _consume(kafka.bootstrap, topic, 2) == [b"a", b"b"]

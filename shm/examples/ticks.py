#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Publish ticks and read them back. python3 ticks.py [TOPIC] [COUNT], with shm/python in PYTHONPATH; the topic is made if it is not there."""
import struct
import sys
import time

import millrace

TICK = struct.Struct("<QQd")  # number, time in ns, price: what produce.c publishes


def main():
    topic = sys.argv[1] if len(sys.argv) > 1 else "ticks"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with millrace.attach() as client:
        if topic not in [known["name"] for known in client.topics()]:
            client.create_topic(topic, config={"millrace.durability": "leader"})
        consumer = client.consumer(topic, timeout=10.0)  # from the end: what is published from now on
        producer = client.producer(topic)
        for number in range(count):
            producer.publish(TICK.pack(number, time.time_ns(), 100 + number % 7))
        producer.flush()
        seen = 0
        for record in consumer:
            number, sent_ns, price = TICK.unpack(record.value)
            if seen < 3:
                print("%d %d: %d %.2f" % (record.partition, record.offset, number, price))
            seen += 1
            if seen == count:
                break
    print("published %d, read back %d" % (count, seen))
    return 0 if seen == count and producer.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())

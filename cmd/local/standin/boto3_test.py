"""boto3 as a client of an SQS server: SQS_ENDPOINT=http://… python boto3_test.py

The stand-in has to be good enough for programs in Python too. servers_test.go
runs this against it; run against Amazon SQS or ElasticMQ it shows what they do.
"""

import contextlib
import hashlib
import itertools
import json
import os
import struct
import time
import unittest

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

SESSION = boto3.Session("test", "test", region_name="us-east-1")
CONFIG = Config(retries={"total_max_attempts": 1}, connect_timeout=30, read_timeout=60)
ENDPOINT = os.environ["SQS_ENDPOINT"]
SQS = SESSION.client("sqs", endpoint_url=ENDPOINT, config=CONFIG)
NAMES = (f"boto3-{time.time_ns()}-{n}" for n in itertools.count())


def create(suffix="", **attributes):
    """A queue of its own for a test."""
    if suffix == ".fifo":
        attributes["FifoQueue"] = "true"
    return SQS.create_queue(QueueName=next(NAMES) + suffix, Attributes=attributes)["QueueUrl"]


def arn(url):
    return SQS.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]


def with_dead_letters(suffix="", count=1):
    """A queue and the one that its messages go to after so many receives."""
    dead = create(suffix)
    policy = {"deadLetterTargetArn": arn(dead), "maxReceiveCount": count}
    return create(suffix, RedrivePolicy=json.dumps(policy)), dead


def receive(url, limit=10, wait=2, visibility=30):
    return SQS.receive_message(
        QueueUrl=url,
        MaxNumberOfMessages=limit,
        WaitTimeSeconds=wait,
        VisibilityTimeout=visibility,
        MessageSystemAttributeNames=["All"],
        MessageAttributeNames=["All"],
    ).get("Messages", [])


def receive_all(url, count):
    got = []
    while len(got) < count:
        some = receive(url, wait=5)
        if not some:
            break
        got += some
    return got


def release(url, message):
    SQS.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)


def md5(data):
    return hashlib.md5(data).hexdigest()


def md5_of_attributes(attributes):
    """As SQS documents it: names, types and values with their lengths, by name."""
    data = b""

    def add(value):
        nonlocal data
        data += struct.pack(">I", len(value)) + value

    for name in sorted(attributes):
        attribute = attributes[name]
        add(name.encode())
        add(attribute["DataType"].encode())
        if "BinaryValue" in attribute:
            data += b"\x02"
            add(attribute["BinaryValue"])
        else:
            data += b"\x01"
            add(attribute["StringValue"].encode())
    return md5(data)


class Common(unittest.TestCase):
    @contextlib.contextmanager
    def refused(self, code):
        """The call in the with block fails with this code."""
        with self.assertRaises(ClientError) as caught:
            yield
        self.assertEqual(caught.exception.response["Error"]["Code"], code)

    def test_digests_are_those_of_what_was_sent(self):
        url = create()
        body = 'a "body" <é> ✓ 🚰\n'
        attributes = {
            "text": {"DataType": "String", "StringValue": "Größe"},
            "number.float": {"DataType": "Number.float", "StringValue": "-1.5e3"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\x01\xff"},
        }
        trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1-5759e988-bd862e3fe1be46a994272793"}}
        sent = SQS.send_message(
            QueueUrl=url, MessageBody=body, MessageAttributes=attributes, MessageSystemAttributes=trace
        )
        self.assertEqual(sent["MD5OfMessageBody"], md5(body.encode()))
        self.assertEqual(sent["MD5OfMessageAttributes"], md5_of_attributes(attributes))
        self.assertEqual(sent["MD5OfMessageSystemAttributes"], md5_of_attributes(trace))
        (message,) = receive(url)
        self.assertEqual(message["Body"], body)
        self.assertEqual(message["MD5OfBody"], md5(body.encode()))
        self.assertEqual(message["MessageAttributes"], attributes)
        self.assertEqual(message["MD5OfMessageAttributes"], md5_of_attributes(attributes))
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "1")

    def test_digest_of_some_attributes_is_theirs(self):
        url = create()
        attributes = {name: {"DataType": "String", "StringValue": name} for name in ("app.a", "app.b", "other")}
        SQS.send_message(QueueUrl=url, MessageBody="m", MessageAttributes=attributes)
        message = SQS.receive_message(QueueUrl=url, WaitTimeSeconds=2, MessageAttributeNames=["app.*"])["Messages"][0]
        asked = {name: attributes[name] for name in ("app.a", "app.b")}
        self.assertEqual(message["MessageAttributes"], asked)
        self.assertEqual(message["MD5OfMessageAttributes"], md5_of_attributes(asked))

    def test_life_of_a_queue(self):
        name = next(NAMES)
        url = SQS.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "45"}, tags={"team": "a"})["QueueUrl"]
        self.assertEqual(SQS.get_queue_url(QueueName=name)["QueueUrl"], url)
        self.assertIn(url, SQS.list_queues(QueueNamePrefix=name)["QueueUrls"])
        SQS.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": "50"})
        got = SQS.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        self.assertEqual(got["VisibilityTimeout"], "50")
        SQS.tag_queue(QueueUrl=url, Tags={"stage": "test"})
        SQS.untag_queue(QueueUrl=url, TagKeys=["team"])
        self.assertEqual(SQS.list_queue_tags(QueueUrl=url)["Tags"], {"stage": "test"})
        SQS.send_message(QueueUrl=url, MessageBody="m")
        SQS.purge_queue(QueueUrl=url)
        self.assertEqual(receive(url, wait=0), [])
        SQS.delete_queue(QueueUrl=url)
        with self.assertRaises(SQS.exceptions.QueueDoesNotExist):
            SQS.get_queue_url(QueueName=name)

    def test_life_of_a_message_by_the_resource_interface(self):
        queue = SESSION.resource("sqs", endpoint_url=ENDPOINT, config=CONFIG).create_queue(QueueName=next(NAMES))
        queue.send_message(MessageBody="m", DelaySeconds=1)
        start = time.monotonic()
        (message,) = queue.receive_messages(WaitTimeSeconds=10)
        self.assertGreater(time.monotonic() - start, 0.5)
        message.change_visibility(VisibilityTimeout=0)
        (again,) = queue.receive_messages(WaitTimeSeconds=2, MessageSystemAttributeNames=["ApproximateReceiveCount"])
        self.assertEqual(again.attributes["ApproximateReceiveCount"], "2")
        again.delete()
        queue.load()
        self.assertEqual(queue.attributes["ApproximateNumberOfMessages"], "0")

    def test_errors_have_their_codes(self):
        url = create()
        with self.refused("ReceiptHandleIsInvalid"):
            SQS.delete_message(QueueUrl=url, ReceiptHandle="nonsense")
        with self.refused("InvalidParameterValue"):
            SQS.send_message(QueueUrl=url, MessageBody="x" * (1 << 20) + "x")
        with self.refused("InvalidMessageContents"):
            SQS.send_message(QueueUrl=url, MessageBody="\x00")
        with self.refused("AWS.SimpleQueueService.NonExistentQueue"):
            SQS.send_message(QueueUrl=url + "-missing", MessageBody="m")


class Batches(unittest.TestCase):
    def test_bad_entry_fails_alone(self):
        url = create()
        bodies = {"first": "a", "bad": "\x00", "last": "b"}
        sent = SQS.send_message_batch(
            QueueUrl=url, Entries=[{"Id": name, "MessageBody": body} for name, body in bodies.items()]
        )
        done = {entry["Id"]: entry for entry in sent["Successful"]}
        self.assertEqual(sorted(done), ["first", "last"])
        for name, entry in done.items():
            self.assertEqual(entry["MD5OfMessageBody"], md5(bodies[name].encode()))
        (failed,) = sent["Failed"]
        self.assertEqual((failed["Id"], failed["SenderFault"]), ("bad", True))
        messages = receive_all(url, 2)
        self.assertEqual(sorted(m["Body"] for m in messages), ["a", "b"])
        receipts = {m["Body"]: m["ReceiptHandle"] for m in messages} | {"bad": "nonsense"}
        changed = SQS.change_message_visibility_batch(
            QueueUrl=url,
            Entries=[{"Id": i, "ReceiptHandle": r, "VisibilityTimeout": 60} for i, r in receipts.items()],
        )
        deleted = SQS.delete_message_batch(
            QueueUrl=url, Entries=[{"Id": i, "ReceiptHandle": r} for i, r in receipts.items()]
        )
        for reply in (changed, deleted):
            self.assertEqual(sorted(e["Id"] for e in reply["Successful"]), ["a", "b"])
            self.assertEqual([e["Id"] for e in reply["Failed"]], ["bad"])
            self.assertEqual(reply["Failed"][0]["Code"], "ReceiptHandleIsInvalid")

    def test_more_than_ten_are_refused(self):
        entries = [{"Id": str(i), "MessageBody": "m"} for i in range(11)]
        with self.assertRaises(SQS.exceptions.TooManyEntriesInBatchRequest):
            SQS.send_message_batch(QueueUrl=create(), Entries=entries)


class Fifo(unittest.TestCase):
    def send(self, url, body, group="a", dedup=None):
        return SQS.send_message(
            QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=dedup or body
        )

    def test_groups_keep_their_order(self):
        url = create(".fifo")
        numbers = [int(self.send(url, body)["SequenceNumber"]) for body in ("a1", "a2", "a3")]
        self.assertEqual(numbers, sorted(set(numbers)))
        self.send(url, "b1", "b")
        (first,) = receive(url, limit=1)
        self.assertEqual((first["Body"], first["Attributes"]["MessageGroupId"]), ("a1", "a"))
        self.assertEqual([m["Body"] for m in receive(url)], ["b1"])
        SQS.delete_message(QueueUrl=url, ReceiptHandle=first["ReceiptHandle"])
        self.assertEqual([m["Body"] for m in receive(url)], ["a2", "a3"])

    def test_duplicates_are_answered_as_the_first(self):
        url = create(".fifo")
        first, again = self.send(url, "one", dedup="d"), self.send(url, "two", dedup="d")
        self.assertEqual(first["MessageId"], again["MessageId"])
        self.assertEqual([m["Body"] for m in receive(url)], ["one"])

    def test_content_is_the_id_where_the_queue_says_so(self):
        url = create(".fifo", ContentBasedDeduplication="true")
        ids = {SQS.send_message(QueueUrl=url, MessageBody="m", MessageGroupId="a")["MessageId"] for _ in range(2)}
        self.assertEqual(len(ids), 1)
        self.assertEqual(len(receive(url)), 1)


class DeadLetters(unittest.TestCase):
    def test_redrive_and_move_back(self):
        url, dead = with_dead_letters(count=2)
        self.assertEqual(SQS.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"], [url])
        sent = {SQS.send_message(QueueUrl=url, MessageBody=str(i))["MessageId"] for i in range(3)}
        for _ in range(2):
            for message in receive_all(url, 3):
                release(url, message)
        self.assertEqual(receive(url, wait=1), [])
        messages = receive_all(dead, 3)
        self.assertEqual({m["MessageId"] for m in messages}, sent)
        self.assertEqual({m["Attributes"]["DeadLetterQueueSourceArn"] for m in messages}, {arn(url)})
        for message in messages:
            release(dead, message)
        self.assertIn("TaskHandle", SQS.start_message_move_task(SourceArn=arn(dead)))
        self.assertEqual({m["Body"] for m in receive_all(url, 3)}, {"0", "1", "2"})
        for _ in range(100):
            (task,) = SQS.list_message_move_tasks(SourceArn=arn(dead))["Results"]
            if task["Status"] == "COMPLETED":
                break
            time.sleep(0.1)
        self.assertEqual((task["Status"], task["ApproximateNumberOfMessagesMoved"]), ("COMPLETED", 3))

    def test_slow_move_can_be_cancelled(self):
        url, dead = with_dead_letters()
        for i in range(5):
            SQS.send_message(QueueUrl=dead, MessageBody=str(i))
        task = SQS.start_message_move_task(
            SourceArn=arn(dead), DestinationArn=arn(url), MaxNumberOfMessagesPerSecond=1
        )
        SQS.cancel_message_move_task(TaskHandle=task["TaskHandle"])
        (task,) = SQS.list_message_move_tasks(SourceArn=arn(dead))["Results"]
        self.assertIn(task["Status"], ("CANCELLING", "CANCELLED"))
        moved = receive(url, wait=1)
        self.assertLess(len(moved), 5)


if __name__ == "__main__":
    unittest.main()

"""boto3 as people use it, against the front door of a local mode whose settings
are in the environment. PENSTOCK_TEST_WORKER is the worker's process: to see a
request expire it is stopped for a while."""

import json
import os
import signal
import time
import urllib.request

import boto3
from botocore.exceptions import ClientError

runtime = boto3.client("sagemaker-runtime")
s3 = boto3.client("s3")
worker = int(os.environ["PENSTOCK_TEST_WORKER"])
DIGIT = open(os.environ["PENSTOCK_TEST_DIGIT"], "rb").read()


def split(uri):
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return {"Bucket": bucket, "Key": key}


def read(uri, seconds=30):
    """The object at uri, as soon as it is there."""
    s3.get_waiter("object_exists").wait(**split(uri), WaiterConfig={"Delay": 1, "MaxAttempts": seconds})
    got = s3.get_object(**split(uri))
    assert got["ContentType"] == "application/json", got["ContentType"]
    return json.load(got["Body"])


def gone(uri):
    try:
        s3.head_object(**split(uri))
    except ClientError as e:
        assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 404, e
        return
    raise AssertionError(f"{uri} is there")


def refused(code, call, **arguments):
    """The error that a call ends with."""
    try:
        call(**arguments)
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        return e.response
    raise AssertionError(f"{arguments} was not refused")


def succeeds():
    s3.put_object(Bucket="penstock", Key="in/client/a b+c.png", Body=DIGIT, ContentType="image/png")
    sent = runtime.invoke_endpoint_async(EndpointName="digits", InputLocation="s3://penstock/in/client/a b+c.png", InferenceId="boto3 1")
    assert sent["InferenceId"] == "boto3 1" and sent["ResponseMetadata"]["HTTPStatusCode"] == 202, sent
    assert read(sent["OutputLocation"])["predictions"][0]["label"] == "3"
    gone(sent["FailureLocation"])
    again = runtime.invoke_endpoint_async(EndpointName="digits", InputLocation="s3://penstock/in/client/a b+c.png", InferenceId="boto3 1")
    assert again["OutputLocation"] == sent["OutputLocation"]
    refused("ValidationError", runtime.invoke_endpoint_async, EndpointName="digits", InputLocation="s3://penstock/in/other.png", InferenceId="boto3 1")


def succeeds_inline():
    sent = runtime.invoke_endpoint_async(EndpointName="penstock", Body=DIGIT, ContentType="image/png", Accept="application/json",
                                         CustomAttributes="tfs-model-name=digits", S3OutputPathExtension="boto3", Filename="inline.json")
    assert sent["OutputLocation"].endswith("/boto3/inline.json"), sent
    assert read(sent["OutputLocation"])["predictions"][0]["label"] == "3"


def fails():
    sent = runtime.invoke_endpoint_async(EndpointName="digits", Body=b"nonsense", ContentType="image/png")
    failure = read(sent["FailureLocation"])
    assert failure["error"]["code"] == "MalformedInput" and failure["inferenceId"] == sent["InferenceId"], failure
    gone(sent["OutputLocation"])


def is_checked():
    for endpoint in runtime.invoke_endpoint_async, runtime.invoke_endpoint:
        e = refused("ValidationError", endpoint, EndpointName="other", **({"Body": b"x"} if endpoint == runtime.invoke_endpoint else {"InputLocation": "s3://penstock/in/x"}))
        assert e["Error"]["Message"] == "Endpoint other of account 000000000000 not found.", e
        assert e["ResponseMetadata"]["RequestId"], e
    e = refused("ValidationError", runtime.invoke_endpoint_async, EndpointName="digits", InputLocation="s3://elsewhere/x")
    assert "s3://penstock/in/" in e["Error"]["Message"], e


def answers_at_once():
    got = runtime.invoke_endpoint(EndpointName="digits", Body=DIGIT, ContentType="image/png", CustomAttributes="a=b")
    assert got["InvokedProductionVariant"] == "AllTraffic" and got["CustomAttributes"] == "a=b", got
    assert got["ContentType"] == "application/json", got
    assert json.load(got["Body"])["predictions"][0]["label"] == "3"
    got = runtime.invoke_endpoint(EndpointName="digits", Body=DIGIT, ContentType="image/png", Accept="text/csv")
    assert got["ContentType"].startswith("text/csv"), got
    e = refused("ModelError", runtime.invoke_endpoint, EndpointName="digits", Body=b"nonsense", ContentType="image/png")
    assert e["OriginalStatusCode"] == 400 and "MalformedInput" in e["OriginalMessage"], e


def ask(method, url, body=None, **headers):
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    with urllib.request.urlopen(request) as got:
        return json.load(got) if method == "POST" else None


def uploads():
    """The way of large inputs, which is Penstock's own."""
    url = os.environ["PENSTOCK_URL"]
    place = ask("POST", url + "/v1/uploads")
    ask(place["method"], place["url"], DIGIT, **{"Content-Type": "image/png"})
    assert ask("POST", url + place["next"], Prefer="wait=30")["predictions"][0]["label"] == "3"


def expires():
    os.kill(worker, signal.SIGSTOP)
    try:
        sent = runtime.invoke_endpoint_async(EndpointName="digits", Body=DIGIT, ContentType="image/png", RequestTTLSeconds=60)
        time.sleep(61)
    finally:
        os.kill(worker, signal.SIGCONT)
    failure = read(sent["FailureLocation"])
    assert failure["error"]["code"] == "Expired", failure
    gone(sent["OutputLocation"])


for check in succeeds, succeeds_inline, fails, is_checked, answers_at_once, uploads, expires:
    check()
    print(check.__name__, flush=True)

"""boto3 against a penstock serve that knows callers by keys of its own: its URL is
the first argument."""

import sys

import boto3
from botocore.exceptions import ClientError


def runtime(key, secret):
    return boto3.client("sagemaker-runtime", endpoint_url=sys.argv[1], aws_access_key_id=key, aws_secret_access_key=secret)


def send(client):
    return client.invoke_endpoint_async(EndpointName="digits", Body=b"\x00 body", ContentType="image/png", Accept="a,  b",
                                        CustomAttributes="spaces  within", InferenceId="an id, signed")


assert send(runtime("AKIDADA", "first/secret+of=ada"))["InferenceId"] == "an id, signed"
print("signed")
for key, secret, code in ("AKIDADA", "guessed", "InvalidSignatureException"), ("AKIDEVE", "first/secret+of=ada", "UnrecognizedClientException"):
    try:
        send(runtime(key, secret))
    except ClientError as e:
        assert e.response["Error"]["Code"] == code, e
        assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 403, e
        print(code)
    else:
        raise AssertionError(f"{key} with {secret} was let in")

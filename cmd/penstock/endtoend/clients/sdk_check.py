"""The SageMaker Python SDK's AsyncPredictor, of version 2 or 3, against the front
door of a local mode whose settings are in the environment. PENSTOCK_TEST_WORKER
is the worker's process: to see a request expire it is stopped for a while."""

import os
import signal
import time

import boto3

try:  # version 3
    from sagemaker.core.exceptions import AsyncInferenceModelError
    from sagemaker.core.helper.session_helper import Session
    from sagemaker.serve.async_inference import WaiterConfig
    from sagemaker.serve.predictor_async import AsyncPredictor
    from sagemaker.core.deserializers import JSONDeserializer
    from sagemaker.core.serializers import DataSerializer
    VERSION = 3
except ImportError:
    from sagemaker.async_inference import WaiterConfig
    from sagemaker.deserializers import JSONDeserializer
    from sagemaker.exceptions import AsyncInferenceModelError
    from sagemaker.predictor import Predictor
    from sagemaker.predictor_async import AsyncPredictor
    from sagemaker.serializers import DataSerializer
    from sagemaker.session import Session
    VERSION = 2

worker = int(os.environ["PENSTOCK_TEST_WORKER"])
DIGIT = open(os.environ["PENSTOCK_TEST_DIGIT"], "rb").read()
WAIT = WaiterConfig(delay=1, max_attempts=30)

boto = boto3.Session()
session = Session(
    boto_session=boto,
    sagemaker_client=boto.client("sagemaker"),
    sagemaker_runtime_client=boto.client("sagemaker-runtime"),
    default_bucket="penstock",
    default_bucket_prefix="in",  # what the SDK uploads must lie in an input location
)

if VERSION == 3:
    class Predictor:
        """What AsyncPredictor needs of a predictor; version 3 has none of its own."""

        def __init__(self, endpoint_name, sagemaker_session, serializer, deserializer):
            self.endpoint_name, self.sagemaker_session = endpoint_name, sagemaker_session
            self.serializer, self.deserializer = serializer, deserializer
            self.accept = deserializer.ACCEPT

        def _handle_response(self, response):
            return self.deserializer.deserialize(response["Body"], response["ContentType"])


def predictor(content_type="image/png"):
    plain = Predictor("digits", session, serializer=DataSerializer(content_type=content_type), deserializer=JSONDeserializer())
    return AsyncPredictor(plain, name="digits")


def label(result):
    return result["predictions"][0]["label"]


def failure_of(call):
    """The failure object that a call ends with."""
    began = time.monotonic()
    try:
        got = call()
    except AsyncInferenceModelError as e:
        assert time.monotonic() - began < 15, "it was not told promptly"
        return str(e)
    raise AssertionError(f"it did not fail: {got}")


def succeeds():
    assert label(predictor().predict(data=DIGIT, waiter_config=WAIT)) == "3"


def succeeds_later():
    response = predictor().predict_async(data=DIGIT, inference_id=f"sdk {VERSION}")
    assert response.output_path.startswith("s3://penstock/out/"), response.output_path
    assert response.failure_path.startswith("s3://penstock/failed/"), response.failure_path
    assert label(response.get_result(WAIT)) == "3"
    assert label(response.get_result()) == "3"


def fails():
    assert "MalformedInput" in failure_of(lambda: predictor().predict(data=b"nonsense", waiter_config=WAIT))
    response = predictor().predict_async(data=b"nonsense")
    assert "MalformedInput" in failure_of(lambda: response.get_result(WAIT))


def expires():
    os.kill(worker, signal.SIGSTOP)
    try:
        response = predictor().predict_async(data=DIGIT, initial_args={"RequestTTLSeconds": 60})
        time.sleep(61)
    finally:
        os.kill(worker, signal.SIGCONT)
    assert "Expired" in failure_of(lambda: response.get_result(WAIT))


def by_endpoint():
    """Version 3's own way, without AsyncPredictor."""
    from sagemaker.core.resources import Endpoint

    boto.client("s3").put_object(Bucket="penstock", Key="in/sdk3.png", Body=DIGIT, ContentType="image/png")
    sent = Endpoint(endpoint_name="digits").invoke_async(input_location="s3://penstock/in/sdk3.png", session=boto)
    assert sent.output_location.startswith("s3://penstock/out/"), sent


for check in [succeeds, succeeds_later, fails, expires] + ([by_endpoint] if VERSION == 3 else []):
    check()
    print(VERSION, check.__name__, flush=True)

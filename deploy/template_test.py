"""Deploys template.yaml to moto, AWS in this process, in each of its shapes, and
holds what comes of it, and the other files here, against what the programs read and
the documents say.

Needs bin/worker and bin/penstock, whose -h says what they read: make lint-deploy.
"""

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import tempfile
import unittest
import warnings
import zipfile

os.environ.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_DEFAULT_REGION="eu-west-1")

import boto3
import parliament
import yaml
from moto import mock_aws
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TOP = pathlib.Path(__file__).resolve().parent.parent
IMAGE = "123456789012.dkr.ecr.eu-west-1.amazonaws.com/penstock-worker:1"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:ends"

# What a person may choose, each with what it must still be.
SHAPES = {
    "before there is an image": {},
    "as it comes": {"WorkerImage": IMAGE},
    "resting at zero": {"WorkerImage": IMAGE, "MinWorkers": "0", "Spot": "yes"},
    "without a queue for jobs": {"WorkerImage": IMAGE, "BatchQueue": "no", "MinWorkers": "0"},
    "in a given network": {"WorkerImage": IMAGE, "VpcId": "vpc-12345678", "Subnets": "subnet-12345678,subnet-87654321"},
    "telling and told": {
        "WorkerImage": IMAGE,
        "SuccessTopic": TOPIC,
        "ErrorTopic": TOPIC,
        "AlarmTopic": TOPIC,
        "HttpAccess": "token",
        "HttpToken": "secret",
        "Endpoints": "digits",
        "InputPrefix": "a/b/",
    },
}

# moto has no function URLs.
NOT_IN_MOTO = ["Url"]


def text(path):
    return (TOP / path).read_text(encoding="utf-8")


def template():
    t = yaml_parse(text("deploy/template.yaml"))
    t["Resources"]["Producer"]["Properties"]["CodeUri"] = "s3://code-bucket/producer.zip"
    t = transform(t, {}, None)
    for name in NOT_IN_MOTO:
        del t["Outputs"][name]
    return t


class Stack:
    """What AWS's own calls tell of a deployed stack."""

    @mock_aws
    def __init__(self, body, parameters):
        s3, lambda_, cloudformation = boto3.client("s3"), boto3.client("lambda"), boto3.client("cloudformation")
        s3.create_bucket(Bucket="code-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as z:
            z.writestr("bootstrap", "")
        s3.put_object(Bucket="code-bucket", Key="producer.zip", Body=code.getvalue())
        cloudformation.create_stack(
            StackName="penstock",
            TemplateBody=json.dumps(body),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
        )
        stack = cloudformation.describe_stacks(StackName="penstock")["Stacks"][0]
        self.status = stack["StackStatus"]
        self.outputs = {o["OutputKey"]: o for o in stack["Outputs"]}
        resources = cloudformation.list_stack_resources(StackName="penstock")["StackResourceSummaries"]
        self.ids = {r["LogicalResourceId"]: r.get("PhysicalResourceId") for r in resources}
        queues = [r["LogicalResourceId"] for r in resources if r["ResourceType"] == "AWS::SQS::Queue"]
        self.queues = {name: self._queue(name) for name in queues}
        self.producer = lambda_.get_function(FunctionName=self.ids["Producer"])["Configuration"]["Environment"]["Variables"]
        self.rights = {role: self._rights(role) for role in ("WorkerRole", "ProducerRole", "StartRole")}
        self.container = self.worker = None
        if "WorkerTask" in self.ids:
            task = boto3.client("ecs").describe_task_definition(taskDefinition=self.ids["WorkerTask"])["taskDefinition"]
            (self.container,) = task["containerDefinitions"]
            self.worker = {e["name"]: e["value"] for e in self.container["environment"]}

    def _queue(self, name):
        return boto3.client("sqs").get_queue_attributes(QueueUrl=self.ids[name], AttributeNames=["All"])["Attributes"]

    def _rights(self, role):
        """The one policy of a role."""
        iam = boto3.client("iam")
        (name,) = iam.list_role_policies(RoleName=self.ids[role])["PolicyNames"]
        document = iam.get_role_policy(RoleName=self.ids[role], PolicyName=name)["PolicyDocument"]
        if isinstance(document, str):  # which moto writes as Python does
            document = yaml.safe_load(document)
        gaps = (None, "None")  # AWS leaves out what is AWS::NoValue
        document["Statement"] = [s for s in document["Statement"] if s not in gaps]
        for s in document["Statement"]:
            if isinstance(s["Resource"], list):
                s["Resource"] = [r for r in s["Resource"] if r not in gaps]
        return document


def actions(policy):
    """(action, resource) of all statements."""
    listed = lambda v: v if isinstance(v, list) else [v]
    return {(a, r) for s in policy["Statement"] for a in listed(s["Action"]) for r in listed(s["Resource"])}


def expressions(properties):
    """The metric math in them."""
    if isinstance(properties, dict):
        for key, value in properties.items():
            if key == "Expression":
                yield from re.findall(r'"((?:IF)?\(FILL[^"]*|IF\(FILL[^"]*)"', json.dumps(value))
            else:
                yield from expressions(value)
    elif isinstance(properties, list):
        for value in properties:
            yield from expressions(value)


def reads(program, *verb):
    """The variables that the help of a program names."""
    said = subprocess.run([TOP / "bin" / program, *verb, "-h"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"\$(PENSTOCK_[A-Z_]+)", said))


def seconds(go):
    """Of a duration as Go writes it."""
    unit = {"h": 3600, "m": 60, "s": 1}
    return sum(float(n) * unit[u] for n, u in re.findall(r"([\d.]+)([hms])", go))


class Template(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        warnings.simplefilter("ignore")  # of what moto passes over
        cls.body = template()
        with contextlib.redirect_stdout(io.StringIO()):
            cls.stacks = {shape: Stack(cls.body, parameters) for shape, parameters in SHAPES.items()}
        cls.stack = cls.stacks["as it comes"]

    def test_it_deploys_in_each_shape(self):
        for shape, stack in self.stacks.items():
            with self.subTest(shape):
                self.assertEqual(stack.status, "CREATE_COMPLETE")
                self.assertEqual("WorkerTask" in stack.ids, shape != "before there is an image")
                self.assertEqual("Vpc" in stack.ids, shape != "in a given network")

    def test_the_queues_are_as_the_guarantees_want_them(self):
        wanted = re.search(r"Retention (\d+) days, .*`maxReceiveCount` (\d+), maximum message size (\d+) MiB", text("docs/guarantees.md"))
        self.assertTrue(wanted, "docs/guarantees.md says nothing of the queue")
        days, receives, mebibytes = map(int, wanted.groups())
        stack = self.stack
        dead = stack.queues["DeadLetters"]
        lease = seconds(stack.worker["PENSTOCK_VISIBILITY_TIMEOUT"])
        for name in "Requests", "Batch", "DeadLetters", "FailedEvents":
            queue = stack.queues[name]
            self.assertEqual(int(queue["MessageRetentionPeriod"]), days * 24 * 3600, name)
            self.assertEqual(int(queue["MaximumMessageSize"]), mebibytes << 20, name)
            if name in ("Requests", "Batch"):
                redrive = json.loads(queue["RedrivePolicy"])
                self.assertEqual(int(redrive["maxReceiveCount"]), receives, name)
                self.assertEqual(redrive["deadLetterTargetArn"], dead["QueueArn"], name)
                self.assertEqual(int(queue["VisibilityTimeout"]), lease, name)

    def test_programs_are_told_what_they_read(self):
        worker, producer = reads("worker"), set(re.findall(r"PENSTOCK_[A-Z_]+", text("docs/producer.md")))
        for shape, stack in self.stacks.items():
            with self.subTest(shape):
                self.assertLessEqual(set(stack.producer), producer)
                if "WorkerTask" in stack.ids:
                    self.assertLessEqual(set(stack.worker), worker)

    def test_worker_and_producer_speak_of_the_same_places(self):
        for shape, stack in self.stacks.items():
            with self.subTest(shape):
                if "WorkerTask" not in stack.ids:
                    continue
                producer, worker = stack.producer, stack.worker
                for name in set(producer) & set(worker):
                    self.assertEqual(producer[name], worker[name], name)
                self.assertTrue(worker["PENSTOCK_INPUT"].startswith(f"s3://{stack.ids['Uploads']}/"))

    def test_a_result_is_no_upload(self):
        stack = self.stacks["telling and told"]
        watched = self.body["Resources"]["Uploads"]["Properties"]["NotificationConfiguration"]["LambdaConfigurations"]
        self.assertEqual([c["Filter"]["S3Key"]["Rules"] for c in watched], [[{"Name": "prefix", "Value": {"Ref": "InputPrefix"}}]])
        for name in "OUTPUT", "FAILURE", "STATE":
            self.assertNotIn(f"s3://{stack.ids['Uploads']}/", stack.worker["PENSTOCK_" + name], name)

    def test_a_worker_is_given_the_time_to_drain(self):
        container = self.stack.container
        drain = seconds(self.stack.worker["PENSTOCK_DRAIN_TIMEOUT"])
        self.assertGreaterEqual(container["stopTimeout"], drain + BESIDE_THE_DRAIN)

    def test_the_container_is_what_the_image_is(self):
        container = self.stack.container
        dockerfile = text("deploy/image/Dockerfile")
        self.assertIn(f'CMD ["{container["healthCheck"]["command"][1]}"]', dockerfile)
        (mount,) = container["mountPoints"]
        self.assertIn(f'VOLUME ["{mount["containerPath"]}"]', dockerfile)
        self.assertEqual(mount["containerPath"], self.stack.worker["PENSTOCK_MODEL_CACHE"])

    def test_outputs_are_named_after_the_settings_they_mirror(self):
        stack = self.stack
        worker, mirrored = stack.worker, 0
        for name, output in stack.outputs.items():
            named = re.match(r"-([a-z-]+), (PENSTOCK_[A-Z_]+)", output.get("Description", ""))
            if not named:
                continue
            flag, variable = named.groups()
            self.assertEqual(name, "".join(part.title() for part in flag.split("-")))
            self.assertEqual(variable, "PENSTOCK_" + flag.upper().replace("-", "_"))
            self.assertEqual(output["OutputValue"], worker[variable])
            mirrored += 1
        self.assertEqual(mirrored, 8)

    def test_the_page_makes_settings_of_the_outputs(self):
        program = re.search(r"^  awk -F '\\t' '(.*)' > .penstock/env$", text("docs/deploy.md"), re.M).group(1)
        lines = [f"{o['Description']}\t{o['OutputValue']}\n" for o in self.stack.outputs.values() if "PENSTOCK_" in o["Description"]]
        said = subprocess.run(["awk", "-F", "\t", program], input="".join(lines), capture_output=True, text=True, check=True).stdout
        settings = dict(line.split("=", 1) for line in said.splitlines())
        self.assertEqual(len(settings), 8)
        self.assertEqual(settings, {name: self.stack.worker[name] for name in settings})

    def test_state_is_forgotten_when_the_documents_say(self):
        documented = dict(re.findall(r"^\| `([a-z]+/)` \| (\d+) days \|", text("docs/requests.md"), re.M))
        documented |= {"uploads/": documented["requests/"], "workers/": documented["cancel/"]}  # a snapshot is of no use after minutes
        rules = self.body["Resources"]["Results"]["Properties"]["LifecycleConfiguration"]["Rules"]
        given = {r["Prefix"]: str(r["ExpirationInDays"]) for r in rules if "Prefix" in r}
        self.assertEqual(given, {".penstock/" + folder: days for folder, days in documented.items()})
        folders = set(
            re.findall(r'^\s*(?:records|uploads|workers|cancel|strikes)Folder\s*= "([a-z]+/)"', text("queue/request/keys.go"), re.M)
        )
        self.assertEqual(set(documented), folders, "queue/request/keys.go has other names")
        self.assertTrue(self.stack.worker["PENSTOCK_STATE"].endswith("/.penstock/"))

    def test_unfinished_uploads_cost_a_day_at_most(self):
        for name, r in self.body["Resources"].items():
            if r["Type"] != "AWS::S3::Bucket":
                continue
            rules = r["Properties"]["LifecycleConfiguration"]["Rules"]
            self.assertIn({"DaysAfterInitiation": 1}, [rule.get("AbortIncompleteMultipartUpload") for rule in rules], name)

    def test_a_worker_has_the_rights_that_the_readme_names_and_no_others(self):
        stack = self.stacks["telling and told"]
        arn = {name: f"arn:aws:s3:::{stack.ids[name]}" for name in ("Uploads", "Results", "Models")}
        inputs = [arn["Uploads"] + "/a/b/*", arn["Models"] + "/*"]
        results = [f"{arn['Results']}/{folder}/*" for folder in ("out", "failed", ".penstock")]
        queues = [stack.queues[name]["QueueArn"] for name in ("Requests", "Batch")]
        places = {
            "inputs, models": inputs,
            "output, failure, state": results,
            "all of these, where a bucket keeps versions": inputs + results,
            "the output": results[:1],
            "their buckets": list(arn.values()),
            "the queues": queues,
            "the dead-letter queue": [stack.queues["DeadLetters"]["QueueArn"]],
            "topics": [TOPIC],
            "keys of your own in KMS": [],  # the template has none
        }
        _, _, table = text("README.md").partition("Its role needs\n")
        rows = re.findall(r"^\| ([^|]+) \| (`[a-z0-9]+:.*) \|$", table, re.M)
        self.assertEqual([on for on, _ in rows], list(places))
        named = {(action, place) for on, rights in rows for action in re.findall(r"`([^`]+)`", rights) for place in places[on]}
        self.assertEqual(actions(stack.rights["WorkerRole"]), named)

    def test_a_worker_can_find_the_dead_letter_queue_of_each_of_its_queues(self):
        """Of a queue for which it is told none: it asks for the URL of the redrive target."""
        for shape, stack in self.stacks.items():
            with self.subTest(shape):
                if stack.worker is None:
                    continue
                given = actions(stack.rights["WorkerRole"])
                for name in "Requests", "Batch":
                    if name in stack.queues:
                        target = json.loads(stack.queues[name]["RedrivePolicy"])["deadLetterTargetArn"]
                        self.assertIn(("sqs:GetQueueUrl", target), given, name)

    def test_scaling_and_alarms_outlive_a_number_that_is_missing(self):
        """CloudWatch knows nothing of what SQS does not tell: an idle queue, messages under way where there are none."""
        checked = 0
        for name, r in self.body["Resources"].items():
            for expression in expressions(r.get("Properties", {})):
                bare = re.sub(r"FILL\(\w+, 0\)|\$\{\w+\}|\bIF\b", "", expression)
                self.assertLessEqual(set(re.findall(r"[a-z]+", bare)), {"workers"}, f"{name}: {expression}")
                checked += 1
        self.assertEqual(checked, 6)

    def test_rules_use_what_rules_may(self):
        allowed = {"Ref", "And", "Contains", "EachMemberEquals", "EachMemberIn", "Equals", "Not", "Or", "RefAll", "ValueOf", "ValueOfAll"}
        used = set(re.findall(r'"(?:Fn::)?(\w+)": ', json.dumps(self.body["Rules"])))
        self.assertLessEqual(used - set(self.body["Rules"]) - {"RuleCondition", "Assertions", "Assert", "AssertDescription"}, allowed)

    def test_the_producer_has_only_rights_that_its_page_names(self):
        _, _, table = text("docs/producer.md").partition("## Rights")
        named = set(re.findall(r"`((?:s3|sqs):[A-Za-z]+)`", table))
        given = {action for action, _ in actions(self.stack.rights["ProducerRole"]) if not action.startswith("logs:")}
        self.assertLessEqual(given, named)

    def test_policies_are_sound_and_name_what_they_are_for(self):
        for shape, stack in self.stacks.items():
            with self.subTest(shape):
                for role in "WorkerRole", "ProducerRole", "StartRole":
                    policy = stack.rights[role]
                    findings = parliament.analyze_policy_string(json.dumps(policy)).findings
                    self.assertEqual([str(f) for f in findings], [], role)
                    for action, resource in actions(policy):
                        self.assertNotIn("*", action, role)
                        self.assertTrue(resource != "*" or action == "ecr:GetAuthorizationToken", f"{role}: {action} on everything")

    def test_nobody_writes_over_an_upload(self):
        stack = self.stack
        for role in "WorkerRole", "ProducerRole":
            for action, resource in actions(stack.rights[role]):
                if stack.ids["Uploads"] in resource:
                    self.assertIn(action, ("s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"), role)

    def test_every_alarm_that_pages_says_what_to_do(self):
        headings = re.findall(r"^#+ (.*)", text("docs/deploy.md"), re.M)
        anchors = {re.sub(r"[^a-z -]", "", h.lower()).strip().replace(" ", "-") for h in headings}
        explained = 0
        for name, r in self.body["Resources"].items():
            if r["Type"] != "AWS::CloudWatch::Alarm" or r["Properties"]["AlarmActions"] == [{"Ref": "WakeUp"}]:
                continue
            anchor = re.search(r"docs/deploy\.md#([a-z-]+)", json.dumps(r["Properties"]["AlarmDescription"]))
            self.assertTrue(anchor, f"{name} says nothing of what to do")
            self.assertIn(anchor.group(1), anchors, name)
            explained += 1
        self.assertEqual(explained, 4)


class Deploying(unittest.TestCase):
    def refused(self, **environment):
        environment.setdefault("PATH", "/usr/bin:/bin")
        run = subprocess.run(["bash", TOP / "deploy/deploy.sh"], env={"HOME": "/nowhere", **environment}, capture_output=True, text=True)
        self.assertEqual((run.returncode, run.stderr.count("\n")), (1, 1), run.stderr)
        return run.stderr

    def test_what_is_missing_is_one_line_that_says_what_to_do(self):
        with tempfile.TemporaryDirectory() as bin:
            for tool in "go", "sam":
                os.symlink("/bin/false", f"{bin}/{tool}")
            tools = {"PATH": f"{bin}:/usr/bin:/bin"}
            self.assertIn("GO", self.refused(GO="no-such-go").upper())
            self.assertIn("at most 24", self.refused(**tools, STACK="Upper"))
            self.assertIn("AWS_REGION", self.refused(**tools))
            vendor = pathlib.Path("/sys/class/dmi/id/sys_vendor")
            if not (vendor.exists() and vendor.read_text().startswith("Amazon EC2")):  # where a machine has a role
                self.assertIn("aws configure", self.refused(**tools, AWS_REGION="eu-west-1"))


# A poll under way is let end first, and then the program itself.
BESIDE_THE_DRAIN = 20


class Elsewhere(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.objects = {o["kind"]: o for o in yaml.safe_load_all(text("deploy/kubernetes.yaml"))}
        cls.pod = cls.objects["Deployment"]["spec"]["template"]["spec"]
        (cls.container,) = cls.pod["containers"]
        cls.environment = {e["name"]: e["value"] for e in cls.container["env"]}
        cls.unit = re.sub(r"^#.*\n", "", text("deploy/penstock-worker.service"), flags=re.M)

    def test_workers_are_told_what_they_read(self):
        self.assertLessEqual({v for v in self.environment if v.startswith("PENSTOCK_")}, reads("worker"))
        self.assertLessEqual(set(re.findall(r"PENSTOCK_[A-Z_]+", self.unit)), reads("worker"))

    def test_workers_are_given_the_time_to_drain(self):
        drain = seconds(self.environment["PENSTOCK_DRAIN_TIMEOUT"])
        self.assertGreaterEqual(self.pod["terminationGracePeriodSeconds"], drain + BESIDE_THE_DRAIN)
        said = subprocess.run([TOP / "bin" / "worker", "-h"], capture_output=True, text=True, check=True).stdout
        default = seconds(re.search(r"--drain-timeout .*?default: ([0-9hms]+)\)", said, re.S).group(1))
        self.assertGreaterEqual(int(re.search(r"TimeoutStopSec=(\d+)", self.unit).group(1)), default + BESIDE_THE_DRAIN)

    def test_a_pod_is_what_the_image_is(self):
        dockerfile = text("deploy/image/Dockerfile")
        (mount,), (volume,) = self.container["volumeMounts"], self.pod["volumes"]
        self.assertIn(f'VOLUME ["{mount["mountPath"]}"]', dockerfile)
        self.assertEqual(mount["name"], volume["name"])
        self.assertIn(f"USER {self.pod['securityContext']['fsGroup']}:", dockerfile)
        self.assertTrue(self.container["securityContext"]["readOnlyRootFilesystem"])
        (port,) = self.container["ports"]
        self.assertIn(f"EXPOSE {port['containerPort']}\n", dockerfile)
        for probe, path in ("startupProbe", "/readyz"), ("readinessProbe", "/readyz"), ("livenessProbe", "/healthz"):
            self.assertEqual(self.container[probe]["httpGet"], {"path": path, "port": port["name"]}, probe)

    def test_all_speak_of_the_same_workers(self):
        labels = self.objects["Deployment"]["spec"]["template"]["metadata"]["labels"]
        for kind in "Deployment", "PodDisruptionBudget":
            self.assertEqual(self.objects[kind]["spec"]["selector"]["matchLabels"], labels, kind)
        scaled = self.objects["ScaledObject"]["spec"]
        self.assertEqual(scaled["scaleTargetRef"]["name"], self.objects["Deployment"]["metadata"]["name"])
        told = {self.environment["PENSTOCK_QUEUE_URL"], self.environment["PENSTOCK_BATCH_QUEUE_URL"]}
        self.assertEqual({t["metadata"]["queueURL"] for t in scaled["triggers"]}, told)
        self.assertEqual(self.pod["serviceAccountName"], self.objects["ServiceAccount"]["metadata"]["name"])

    def test_a_worker_that_an_input_killed_is_started_again(self):
        """Its exit code is 2, by Go's account of a signal, as that of wrong settings is."""
        self.assertIn("Restart=on-failure\n", self.unit)
        self.assertIn("StartLimitIntervalSec=0\n", self.unit)
        self.assertNotIn("RestartPreventExitStatus", self.unit)


class Compose(unittest.TestCase):
    def test_services_are_told_what_they_read(self):
        services = yaml.safe_load(text("deploy/compose.yaml"))["services"]
        read = {"worker": reads("worker"), "serve": reads("penstock", "serve"), "uploads": reads("penstock", "reconcile")}
        own = {"PENSTOCK_QUEUE_URL", "PENSTOCK_INPUT", "PENSTOCK_OUTPUT", "PENSTOCK_FAILURE"}
        for name, variables in read.items():
            told = {v for v in services[name]["environment"] if v.startswith("PENSTOCK_")}
            self.assertLessEqual(own, told, name)
            self.assertLessEqual(told, variables, name)

    def test_nothing_listens_beyond_this_machine(self):
        for name, service in yaml.safe_load(text("deploy/compose.yaml"))["services"].items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")


if __name__ == "__main__":
    unittest.main()

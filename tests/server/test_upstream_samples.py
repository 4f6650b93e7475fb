# SPDX-License-Identifier: Apache-2.0
"""Manifests of Knative Eventing itself, unmodified, applied with kubectl: what its own module brings (tests/setup/kn). Each either works, or says why it cannot, and this is the table of them:
an example that comes with a newer module and is not in it fails."""

import re

import pytest

from kn import SAMPLES
from kubectl import NEW, Kubectl

# Examples that print a part of an object, as upstream's own admission has it: what is missing is required there too.
PART = {
    "apiserversource.Example_min": ["spec: is missing"],
    "apiserversource.Example_withEmptyNamespaceSelector": ["spec.sink: is missing", "spec.resources: is missing"],
    "apiserversource.Example_withEventMode": ["spec.sink: is missing", "spec.resources: is missing"],
    "apiserversource.Example_withServiceAccountName": ["spec.sink: is missing", "spec.resources: is missing"],
    "apiserversource.Example_withSink": ["spec.resources: is missing"],
    "containersource.Example_min": ["spec.sink: is missing"],
    "parallel.Example_min": ["spec.branches: is missing"],
    "parallel.Example_withFilterAt": ["spec.branches[0].subscriber: is missing"],
    "parallel.Example_withReply": ["spec.branches: is missing"],
    "parallel.Example_withReplyAt": ["spec.branches[0].subscriber: is missing"],
    "pingsource.Example_min": ["spec: is missing"],
    "sequence.Example_min": ["spec.steps: is missing"],
    "sequence.Example_withReply": ["spec.steps: is missing"],
    "subscription.ExampleWithChannel": ["spec.channel.kind: must be Channel"],
    "subscription.ExampleWithReply": ["spec.channel: is missing"],
    "subscription.ExampleWithSubscriber": ["spec.channel: is missing"],
    "subscription.Example_full": ["spec.channel: is missing", "no ISO 8601 duration"],
    "subscription.Example_min": ["spec.channel: is missing"],
    "subscription.Example_zero": ["spec: is missing"],
    "trigger.ExampleWithDeadLetterSink": ["spec.subscriber: is missing"],
    "trigger.ExampleWithFilter": ["spec.subscriber: is missing"],
    "trigger.ExampleWithNewFilters": ["spec.subscriber: is missing"],
    "trigger.ExampleWithRetry": ["spec.subscriber: is missing", "no ISO 8601 duration"],
    "trigger.Example_zero": ["spec: is missing"],
}
# Values that stand for one another in upstream's templates and are none: an operator of a selector called "uk", an interval of ISO 8601 for a duration, a label that is no text, bytes of any kind for JSON.
WRONG = {
    "apiserversource.Example_full": ["operator: must be one of"],
    "apiserversource.Example_withNamespaceSelector": ["operator: must be one of"],
    "apiserversource.Example_withResources": ["operator: must be one of"],
    "broker.ExampleWithRetry": ["no ISO 8601 duration"],
    "broker.Example_full": ["no ISO 8601 duration"],
    "channel.Example_full": ["no ISO 8601 duration"],
    "namespace.Example_withLabels": ["cannot unmarshal bool"],
    "pingsource.Example_fullbase64": ["spec.dataBase64: dataBase64 is no JSON"],
}
# No objects of ours: a cluster's own kinds, kinds that are made up, and pieces that are no objects.
ELSEWHERE = {
    **{f"account_role.{name}": ['no matches for kind "ServiceAccount"'] for name in ("Example", "Example_addressableResolver", "Example_channelableManipulator", "Example_matchLabel", "Example_withRoleAndRules")},
    **{f"channel_impl.Example_{name}": ['no matches for kind "Sample"'] for name in ("full", "min", "setenv")},
    **{f"delivery.{name}": ["apiVersion not set"] for name in ("ExampleWithDeadLetterSink", "ExampleWithRetry", "ExampleWithRetry_onlyCount", "Example_full", "Example_min")},
}
REFUSED = {**PART, **WRONG, **ELSEWHERE}
WORKING = [
    "broker.ExampleWithAnnotations", "broker.ExampleWithBrokerClass", "broker.ExampleWithConfig", "broker.ExampleWithConfigNamespace", "broker.ExampleWithDeadLetterSink",
    "broker.ExampleWithRetry_onlyCount", "broker.Example_min", "channel.Example_min", "channel.Example_withTemplate", "channel_impl.Example_env", "containersource.Example_sink", "namespace.Example_min",
    "parallel.Example_full", "parallel.Example_fullDelivery", "parallel.Example_withFullAt", "parallel.Example_withSubscriberAt", "pingsource.Example_full",
    "pingsource.Example_schedule_with_secs", "sequence.Example_full", "sequence.Example_fullDelivery", "sequence.Example_withStep", "sinkbinding.Example_full", "sinkbinding.Example_min",
    "sinkbinding.Example_withSink", "trigger.ExampleWithSubscriber", "trigger.Example_full", "trigger.Example_min",
]
FILES = {f.stem: f for f in sorted((SAMPLES / "examples").glob("*.yaml"))}


@pytest.fixture(scope="module")
def broker(serve_module):
    return serve_module([])


@pytest.fixture(scope="module")
def kubectl(broker, tmp_path_factory):
    return Kubectl(NEW, broker.api, tmp_path_factory.mktemp("home"))


def test_the_table_has_all_of_them():
    assert set(FILES) == set(REFUSED) | set(WORKING) and not set(REFUSED) & set(WORKING)


@pytest.mark.parametrize("name", WORKING)
def test_an_example_that_works(kubectl, name):
    """Applied it is created, applied again it is unchanged, and it goes."""
    out = kubectl.good("apply", "-f", FILES[name]).out
    assert out.endswith(" created"), out
    assert kubectl.good("apply", "-f", FILES[name]).out == out.replace(" created", " unchanged")
    assert "deleted" in kubectl.good("delete", "-f", FILES[name]).out


@pytest.mark.parametrize("name", REFUSED)
def test_an_example_that_cannot_work_says_why(kubectl, name):
    done = kubectl("apply", "-f", FILES[name])
    assert done.code == 1 and all(words in done.err for words in REFUSED[name]), done


def test_the_configuration_of_an_installation(kubectl):
    """config/ has ConfigMaps, Secrets, Services and a Namespace: these are taken, so that one `apply -f` of a folder brings them; definitions are leat's own, and what runs in a cluster has no kind here."""
    done = kubectl("apply", "-R", "-f", SAMPLES / "config/core")
    made = {line.removesuffix(" created") for line in done.out.split("\n") if line.endswith(" created")}
    assert {"namespace/knative-eventing", "configmap/config-br-defaults", "configmap/default-ch-webhook", "configmap/config-features", "service/eventing-webhook"} <= made, done
    foreign = set(re.findall(r'no matches for kind "(\w+)"', done.err))
    assert foreign <= {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget", "MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"}, foreign
    assert done.code == 1 and "MethodNotAllowed" in done.err

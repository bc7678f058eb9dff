"""What hotcert setup ibm makes, made with IBM's own SDKs: ibm_setup.py SETTINGS, a file of JSON.

The requests that the SDKs send are what hotcert's are compared with. "remove": true removes it again, "refused": true
sends what lacks a required field and prints the status of each answer."""

import json
import sys
import time

from ibm_cloud_sdk_core import ApiException
from ibm_cloud_sdk_core.authenticators import IAMAuthenticator
from ibm_eventnotifications.event_notifications_v1 import EventNotificationsV1
from ibm_platform_services import GlobalCatalogV1, GlobalTaggingV1, IamPolicyManagementV1
from ibm_platform_services import ResourceControllerV2, ResourceManagerV2
from ibm_secrets_manager_sdk.secrets_manager_v2 import SecretsManagerV2

with open(sys.argv[1]) as file:
    settings = json.load(file)
url, names, ca = settings["url"], settings["names"], settings["ca"]


def session(service, path=""):
    service.set_service_url(url + path)
    service.set_http_config({"verify": ca})
    return service


authenticator = IAMAuthenticator(settings["apiKey"], url=url)
# The authenticator's own requests have no setting for roots: REQUESTS_CA_BUNDLE names them.
catalog = session(GlobalCatalogV1(authenticator), "/catalog/api/v1")
groups = session(ResourceManagerV2(authenticator))
instances = session(ResourceControllerV2(authenticator))
policies = session(IamPolicyManagementV1(authenticator))
tags = session(GlobalTaggingV1(authenticator))
secrets = session(SecretsManagerV2(authenticator))
notifications = session(EventNotificationsV1(authenticator), "/event-notifications")


def plan(service, name):
    entries = catalog.list_catalog_entries(q=service).get_result()["resources"]
    entry = next(entry for entry in entries if entry["name"] == service)
    plans = catalog.get_child_objects(entry["id"], "plan").get_result()["resources"]
    return next(plan["id"] for plan in plans if plan["name"] == name)


def find(service, name):
    found = instances.list_resource_instances(name=name, type="service_instance", limit=100).get_result()
    return next((one for one in found["resources"] if f":{service}:" in one["crn"]), None)


def make(service, name, plan_id, group):
    assert find(service, name) is None
    made = instances.create_resource_instance(
        name=name, target=settings["region"], resource_group=group, resource_plan_id=plan_id, tags=[names["tag"]]
    )
    assert made.get_status_code() == 201
    return made.get_result()


def active(instance):
    deadline = time.monotonic() + 20
    while instance["state"] != "active":
        assert time.monotonic() < deadline
        instance = instances.get_resource_instance(instance["guid"]).get_result()
    return instance


def party(instance):
    crn = instance["crn"].split(":")
    return {
        "attributes": [
            {"name": "accountId", "value": crn[6].removeprefix("a/")},
            {"name": "serviceName", "value": crn[4]},
            {"name": "serviceInstance", "value": crn[7]},
        ]
    }


def set_up():
    group = groups.list_resource_groups(default=True).get_result()["resources"][0]["id"]
    events_plan = plan("event-notifications", "lite")
    secrets_plan = plan("secrets-manager", "trial")
    events = make("event-notifications", names["eventNotifications"], events_plan, group)
    manager = make("secrets-manager", names["secretsManager"], secrets_plan, group)
    events, manager = active(events), active(manager)

    account = manager["crn"].split(":")[6].removeprefix("a/")
    assert policies.list_policies(account, type="authorization").get_result()["policies"] == []
    role = "crn:v1:bluemix:public:event-notifications::::serviceRole:Event-Source-Manager"
    policies.create_policy(
        type="authorization",
        subjects=[party(manager)],
        roles=[{"role_id": role}],
        resources=[party(events)],
        description=names["mark"],
    )

    try:
        secrets.get_notifications_registration()
        raise AssertionError("it is registered already")
    except ApiException as error:
        assert error.status_code == 404
    secrets.create_notifications_registration(
        event_notifications_instance_crn=events["crn"],
        event_notifications_source_name=names["source"],
        event_notifications_source_description=names["mark"],
    )
    guid = events["guid"]
    sources = notifications.list_sources(guid, limit=100).get_result()["sources"]
    assert any(source["id"] == manager["crn"] for source in sources)

    notifications.list_topics(guid, limit=100, search=names["topic"])
    rules = [
        {"enabled": True, "event_type_filter": "$.*", "notification_filter": f"$.data.event_type == '{kind}'"}
        for kind in settings["eventTypes"]
    ]
    topic = notifications.create_topic(
        guid, names["topic"], description=names["mark"], sources=[{"id": manager["crn"], "rules": rules}]
    ).get_result()
    notifications.list_destinations(guid, limit=100, search=names["destination"])
    header = settings["header"]
    destination = notifications.create_destination(
        guid,
        names["destination"],
        "webhook",
        description=names["mark"],
        config={
            "params": {
                "url": settings["receiver"],
                "verb": "POST",
                "custom_headers": {header: settings["token"]},
                "sensitive_headers": [header],
            }
        },
    ).get_result()
    notifications.list_subscriptions(guid, limit=100, search=names["subscription"])
    notifications.create_subscription(
        guid,
        names["subscription"],
        destination["id"],
        topic["id"],
        description=names["mark"],
        attributes={"signing_enabled": False},
    )

    secrets.list_secrets(limit=1000, search=names["secret"], groups=["default"], secret_types=["imported_cert"])
    secrets.create_secret(
        {
            "secret_type": "imported_cert",
            "name": names["secret"],
            "description": names["mark"],
            "secret_group_id": "default",
            "labels": [names["label"]],
            "certificate": settings["certificate"],
            "private_key": settings["privateKey"],
        }
    )


def remove():
    events = find("event-notifications", names["eventNotifications"])
    manager = find("secrets-manager", names["secretsManager"])
    guid = events["guid"]
    subscriptions = notifications.list_subscriptions(guid, limit=100).get_result()["subscriptions"]
    destinations = notifications.list_destinations(guid, limit=100).get_result()["destinations"]
    topics = notifications.list_topics(guid, limit=100).get_result()["topics"]
    notifications.list_sources(guid, limit=100)
    found = secrets.list_secrets(limit=1000).get_result()["secrets"]
    secrets.list_secrets(limit=1000, search=names["secret"], groups=["default"], secret_types=["imported_cert"])
    secrets.get_notifications_registration()
    notifications.list_sources(guid, limit=100)
    account = manager["crn"].split(":")[6].removeprefix("a/")
    authorizations = policies.list_policies(account, type="authorization").get_result()["policies"]
    for instance in (manager, events):
        tags.list_tags(tag_type="user", providers=["ghost"], attached_to=instance["crn"], limit=1000)
    notifications.delete_subscription(guid, subscriptions[0]["id"])
    notifications.delete_destination(guid, destinations[0]["id"])
    notifications.delete_topic(guid, topics[0]["id"])
    secrets.delete_secret(found[0]["id"])
    secrets.delete_notifications_registration()
    policies.delete_policy(authorizations[0]["id"])
    instances.delete_resource_instance(manager["guid"])
    instances.delete_resource_instance(events["guid"])


def status(call):
    try:
        return call().get_status_code()
    except ApiException as error:
        return error.status_code


def refused():
    """Statuses of requests that are wrong, in an account where set_up was."""
    events = find("event-notifications", names["eventNotifications"])
    manager = find("secrets-manager", names["secretsManager"])
    guid = events["guid"]
    topic = notifications.list_topics(guid).get_result()["topics"][0]
    role = {"role_id": "crn:v1:bluemix:public:event-notifications::::serviceRole:Event-Source-Manager"}
    nobody = "00000000-0000-0000-0000-000000000000"
    answers = {
        "instance without a plan that exists": lambda: instances.create_resource_instance(
            "x", "us-south", "default", "no-such-plan"
        ),
        "instance that does not exist": lambda: instances.get_resource_instance(nobody),
        "policy without an account": lambda: policies.create_policy(
            "authorization",
            [{"attributes": [{"name": "serviceName", "value": "secrets-manager"}]}],
            [role],
            [party(events)],
        ),
        "policy that exists": lambda: policies.create_policy("authorization", [party(manager)], [role], [party(events)]),
        "registration that exists": lambda: secrets.create_notifications_registration(events["crn"], "x"),
        "topic whose name is taken": lambda: notifications.create_topic(guid, names["topic"]),
        "topic of a source that does not exist": lambda: notifications.create_topic(
            guid, "x", sources=[{"id": "nobody", "rules": [{"enabled": True}]}]
        ),
        "destination without an address": lambda: notifications.create_destination(
            guid, "x", "webhook", config={"params": {"verb": "POST"}}
        ),
        "subscription to nothing": lambda: notifications.create_subscription(guid, "x", nobody, topic["id"]),
        "instance of events that does not exist": lambda: notifications.list_topics(nobody),
        "secret that exists": lambda: secrets.create_secret(
            {
                "secret_type": "imported_cert",
                "name": names["secret"],
                "certificate": settings["certificate"],
                "private_key": settings["privateKey"],
            }
        ),
        "secret without a certificate": lambda: secrets.create_secret(
            {"secret_type": "imported_cert", "name": "other"}
        ),
        "test of the registration": secrets.get_notifications_registration_test,
    }
    print(json.dumps({name: status(call) for name, call in answers.items()}))


if settings.get("remove"):
    remove()
elif settings.get("refused"):
    refused()
else:
    set_up()

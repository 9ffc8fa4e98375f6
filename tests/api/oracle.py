"""What the broker must answer to a body that fits the schema, worked out from the caller's own catalogue.

schemathesis knows that a status is documented, not when it is right. Here the order of refusals is written down a second
time, from the description of the API and not from the code: permission (403), then whether the request fits the items
(400), then whether they can stand under one token (400), then whether a plan can be made (422).
"""

import json
import os
import urllib.request

import schemathesis

BROKER = os.environ["BROKER"]
BEARER = {"Authorization": "Bearer " + os.environ["BEARER"]}

RIGHTS = {"report": ["view", "edit"], "visual": ["view", "edit"], "create_report": ["create"]}
# In the sandbox's policy: items whose rule gives "save a copy" to managers, and items that need a header with a blob.
MANAGERS_SAVE_COPIES = {"benchmarks"}
WITH_BLOB = {"orders", "order-book", "orders-by-region"}


def get(path):
    with urllib.request.urlopen(urllib.request.Request(BROKER + path, headers=BEARER)) as answer:
        return json.load(answer)


CATALOGUE = {entry["item"]: entry for entry in get("/items")["items"]}
TARGETS = {name for target in get("/items/any-report/targets")["targets"] for name in (target["id"], target["name"])}
MANAGER = "create" in CATALOGUE.get("new-sales-report", {"access": []})["access"]


def rights(name):
    return RIGHTS.get(CATALOGUE[name]["type"], ["view"])


def fits_schema(body):
    if not isinstance(body, dict) or ("item" in body) == ("items" in body):
        return False
    shape = {"item": str, "items": list, "access": str, "save_as": bool, "target": str}
    names = body.get("items", [body.get("item")])
    return (
        all(name in shape and isinstance(value, shape[name]) for name, value in body.items())
        and body.get("access", "view") in ("view", "edit", "create")
        and not ("items" in body and "target" in body)
        and 1 <= len(names) <= 50
        and all(isinstance(name, str) for name in names)
    )


def expected(body):
    """The answers that are right: status and code."""
    names = set(body.get("items", [body.get("item")]))
    access, save_as, target = body.get("access"), body.get("save_as", False), body.get("target")
    for name in names:
        known = CATALOGUE.get(name)
        if known is None:
            return {(403, "not_permitted")}
        if access in rights(name) and access not in known["access"]:
            return {(403, "not_permitted")}
        if save_as and known["type"] == "report" and not (MANAGER and name in MANAGERS_SAVE_COPIES):
            return {(403, "not_permitted")}
    for name in names:
        known = CATALOGUE[name]
        wrong_target = known["needsTarget"] != (target is not None) or target == ""
        if wrong_target or (access and access not in rights(name)) or (save_as and known["type"] != "report"):
            return {(400, "invalid_request")}
    if target is not None and target not in TARGETS:
        return {(403, "not_permitted")}
    right = {(422, "blob_missing")} if names & WITH_BLOB else {(200, None)}
    return right | {(400, "items_not_combinable")} if len(names) > 1 else right


def sent(response, name):
    value = response.request.headers.get(name)
    return value[0] if isinstance(value, list) else value


def is_signed_in(response):
    """schemathesis also leaves the token out, on purpose."""
    return sent(response, "Authorization") == BEARER["Authorization"]


@schemathesis.check
def answers_as_the_catalogue_says(context, response, case):
    if response.request.method != "POST" or not fits_schema(case.body):
        return
    answer = json.loads(response.content)
    got = (response.status_code, answer.get("code"))
    if sent(response, "Content-Type") != "application/json":
        wanted = {(415, "unsupported_media_type")}
    elif not is_signed_in(response):
        wanted = {(401, "missing_token"), (401, "invalid_token")}
    else:
        wanted = expected(case.body)
    if got in wanted:
        if got[0] == 200:
            asked = list(dict.fromkeys(case.body.get("items", [case.body.get("item")])))
            assert [entry["item"] for entry in answer["items"]] == asked, "not the items asked for, in their order"
            assert all(entry["embedConfig"]["accessToken"] == answer["token"] for entry in answer["items"])
        return
    raise AssertionError(f"{case.body!r} got {got}, and only {sorted(wanted, key=str)} would be right")


@schemathesis.check
def targets_are_listed_for_items_that_take_one(context, response, case):
    if response.request.method != "GET" or not case.path.endswith("/targets"):
        return
    known = CATALOGUE.get(str(case.path_parameters.get("item")))
    if known and is_signed_in(response):
        assert response.status_code == (200 if known["needsTarget"] else 404), response.status_code

"""The processors printed in README.md and CONTRIBUTING.md, as they are printed, in a real gateway and its contract."""

import importlib.util
import json
import re
import urllib.request

import pytest
from gateway_process import ROOT, Gateway, quickstart

from collector.testing.batches import traces_payload, traces_request
from collector.testing.contract import ProcessorContract

SPANS = 60
PAGES = {
    "README.md": ("drop_health_checks.py", "DropHealthChecks", {"route": "/healthz"}),
    "CONTRIBUTING.md": ("shout.py", "Shout", {"prefix": "> "}),
}


def printed(page):
    """The Python blocks of a page, as a reader would copy them."""
    return re.findall(r"^```python\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def saved(page, folder):
    """The file that the page tells its reader to make."""
    (code,) = [block for block in printed(page) if f"class {PAGES[page][1]}(" in block]
    file = folder / PAGES[page][0]
    file.write_text(code)
    return file


def processor_class(page, folder):
    spec = importlib.util.spec_from_file_location(f"printed_{PAGES[page][1].lower()}", saved(page, folder))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, PAGES[page][1])


def kept_spans(gateway):
    return [
        span
        for path in gateway.kept_files()
        for line in path.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def sent_spans():
    return [
        span
        for resource in traces_request(SPANS, 4).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def through_a_gateway(page, folder, *, before_the_log):
    """What comes out of the gateway of a reader who did what the page says, and what its ledger filtered."""
    file, name, options = PAGES[page]
    saved(page, folder)
    config = quickstart(folder, decision_wait="500ms")
    id_ = f"./{file}:{name}"
    config["processors"][id_] = options
    policy = {"name": "all", "type": "always_sample"}
    config["processors"]["tail_sampling"]["policies"] = [policy]
    lines = config["service"]["pipelines"]
    if before_the_log:
        lines["traces/ingest"]["processors"].append(id_)
    else:
        lines["traces/sample"]["processors"].insert(0, id_)
    with Gateway(config, folder) as gateway:
        request = urllib.request.Request(
            f"http://{gateway.http}/v1/traces", traces_payload(SPANS, 4), {"content-type": "application/x-protobuf"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert reply.status == 200
        gateway.drained()
        filtered = gateway.metric("butterfly_filtered_items_total", reason="health_check")
        assert gateway.metric("butterfly_leaked_acks_total") == 0
        gateway.terminate()
        return kept_spans(gateway), filtered


@pytest.mark.parametrize("before_the_log", [True, False], ids=["before the log", "before the sampler"])
def test_the_readmes_drops_health_checks(tmp_path, before_the_log):
    found, filtered = through_a_gateway("README.md", tmp_path, before_the_log=before_the_log)
    wanted = {
        span.span_id.hex(): span.name
        for span in sent_spans()
        if not any(each.key == "http.route" and each.value.string_value == "/healthz" for each in span.attributes)
    }
    assert {span["spanId"]: span["name"] for span in found} == wanted
    assert filtered == SPANS - len(wanted)
    assert 0 < len(wanted) < SPANS


@pytest.mark.parametrize("before_the_log", [True, False], ids=["before the log", "before the sampler"])
def test_contributings_renames(tmp_path, before_the_log):
    found, _ = through_a_gateway("CONTRIBUTING.md", tmp_path, before_the_log=before_the_log)
    assert {span["spanId"]: span["name"] for span in found} == {
        span.span_id.hex(): "> " + span.name.upper() for span in sent_spans()
    }
    attributes = {span["spanId"]: len(span["attributes"]) for span in found}
    assert attributes == {span.span_id.hex(): len(span.attributes) for span in sent_spans()}


def test_the_yaml_that_is_printed_names_them():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert './shout.py:Shout: {prefix: "> "}' in text
    assert "`./drop_health_checks.py:DropHealthChecks`" in (ROOT / "README.md").read_text()


CONTRACT = sorted(name for name in vars(ProcessorContract) if name.startswith("test_"))


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("test", CONTRACT)
def test_they_keep_the_contract(page, test, tmp_path):
    held = type("Held", (ProcessorContract,), {"processor": processor_class(page, tmp_path), "config": PAGES[page][2]})
    getattr(held(), test)()


def test_the_contract_has_not_shrunk():
    assert len(CONTRACT) >= 9

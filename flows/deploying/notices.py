"""Who is told: the action an automation takes beside its own, by a block of Prefect."""

from prefect.blocks.webhook import Webhook
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import BlockDocument
from prefect.events.actions import ActionTypes, CallWebhook, SendNotification
from prefect.exceptions import ObjectNotFound
from prefect.types import SecretDict
from pydantic import SecretStr

from domain.errors import UsageError
from flows.deploying.changes import Change, Done

NOBODY = "none"

_OUR_BLOCK = "facesweep"
_TEXT = (
    "facesweep: {{ automation.name }}: {{ flow.name }} {{ flow_run.name }} is {{ flow_run.state.name }}"
    "{% if flow_run.state.message %}: {{ flow_run.state.message }}{% endif %}"
)
# `text` is what Slack, Mattermost and most others read. Messages may hold quotes, hence the filter.
_PAYLOAD = '{"text": {% set told %}' + _TEXT + "{% endset %}{{ told | tojson }}}"


async def telling(
    client: PrefectClient, whom: str, *, dry_run: bool
) -> tuple[list[ActionTypes], list[Change]]:
    """The action that tells `whom`: a block as `type/name`, the url of a webhook, or `none`.

    A url is kept in the block `webhook/facesweep`; Prefect encrypts it in its database. A dry run does not
    make the block, and so gives no action for a url that is new.

    Raises:
        UsageError: there is no such block, or it can tell nobody.
    """
    if whom == NOBODY:
        return [], []
    if whom.startswith(("http://", "https://")):
        document, change = await _kept(client, whom, dry_run=dry_run)
        return ([_call(document)] if document else []), [change]
    slug, _, name = whom.partition("/")
    document = await _find(client, slug, name) if name else None
    if document is None:
        raise UsageError(
            f"--notify {whom}: there is no such block: give one as type/name, such as slack-webhook/ops "
            "(`prefect block ls` names them), or the url of a webhook"
        )
    if slug == "webhook":
        return [_call(document)], []
    capabilities = document.block_schema.capabilities if document.block_schema else []
    if "notify" not in capabilities:
        raise UsageError(
            f"--notify {whom}: a block of this type tells nobody: take a notification's or a webhook's"
        )
    return [SendNotification(block_document_id=document.id, subject="facesweep", body=_TEXT)], []


def _call(document: BlockDocument) -> CallWebhook:
    return CallWebhook(block_document_id=document.id, payload=_PAYLOAD)


async def _kept(client: PrefectClient, url: str, *, dry_run: bool) -> tuple[BlockDocument | None, Change]:
    """Our webhook's block, with this url in it."""
    name = f"webhook/{_OUR_BLOCK}"
    found = await _find(client, "webhook", _OUR_BLOCK)
    if found is not None and found.data.get("url") == url:
        return found, Change("block", name, Done.UNCHANGED)
    change = Change("block", name, Done.CREATED if found is None else Done.UPDATED)
    if not dry_run:
        block = Webhook(url=SecretStr(url), headers=SecretDict({"Content-Type": "application/json"}))
        await block.asave(_OUR_BLOCK, overwrite=True, client=client)
        found = await _find(client, "webhook", _OUR_BLOCK)
    return found, change


async def _find(client: PrefectClient, slug: str, name: str) -> BlockDocument | None:
    try:
        return await client.read_block_document_by_name(name, slug, include_secrets=True)
    except ObjectNotFound:
        return None

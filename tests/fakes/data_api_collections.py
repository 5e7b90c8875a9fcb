"""Collections of the fake Data API, as far as Copydesk uses one: conditional inserts, reads by `_id`, and reading all of it.

Each rule names its source: "astra.md" is the team's page of measured facts about the server, a .java file is one of stargate/data-api.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from tests.fakes.data_api_values import Refused

if TYPE_CHECKING:
    from tests.fakes.data_api import Keyspace

_DOCUMENTS = 20
"""A page: OperationsConfig.java, defaultPageSize; 50 in later servers."""


def on_collection(space: Keyspace, name: str, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """astra.md 0.1 and 3: insertOne is IF NOT EXISTS; with indexing denied a document is found by its `_id` alone."""
    documents = space.documents[name]
    where = arguments.get("filter") or {}
    if command == "insertOne":
        document = arguments["document"]
        if len(json.dumps(document)) > 4_000_000:  # astra.md 4
            raise Refused("SHRED_DOC_LIMIT_VIOLATION", scope="DOCUMENT")
        if document["_id"] in documents:
            raise Refused("DOCUMENT_ALREADY_EXISTS", document["_id"], scope="DOCUMENT")
        documents[document["_id"]] = document
        return {"status": {"insertedIds": [document["_id"]]}}
    if command == "findOne":
        if set(where) != {"_id"}:
            raise Refused("UNINDEXED_FILTER_PATH", str(where), scope="FILTER")
        return {"data": {"document": documents.get(where["_id"])}, "status": {}}
    if command == "find" and not where:
        return _page(documents, arguments.get("sort"), arguments.get("options") or {})
    if command == "find":
        # The server's filter resolver (ID_NOT_INDEXED): with indexing denied `_id` still takes $eq and $in. Pages hold 20.
        if set(where) != {"_id"} or set(where["_id"]) != {"$in"}:
            raise Refused("UNINDEXED_FILTER_PATH", str(where), scope="FILTER")
        wanted = [documents[id] for id in where["_id"]["$in"] if id in documents]
        limit = min(_DOCUMENTS, (arguments.get("options") or {}).get("limit") or _DOCUMENTS)
        if len(wanted) > limit:
            raise Refused("COMMAND_UNKNOWN", "find of more documents than a page holds")
        return {"data": {"documents": wanted, "nextPageState": None}, "status": {}}
    if command == "deleteMany" and not where:
        documents.clear()
        return {"status": {"deletedCount": -1}}
    raise Refused("COMMAND_UNKNOWN", command)


def _page(documents: dict[str, Any], sort: Any, options: dict[str, Any]) -> dict[str, Any]:
    """A find without a filter reads the collection in the order of the ring, a default page (20) at a time.

    FindCommandResolver.java of stargate/data-api, resolveCollectionCommand: without a sort `unsorted`, which takes a page state and
    needs no index; a sort and a page state together are refused.
    """
    state = options.get("pageState")
    if sort:
        raise Refused("UNINDEXED_SORT_PATH" if not state else "INVALID_SORT_CLAUSE", str(sort), scope="SORT")

    def token(name: str) -> str:
        return hashlib.md5(name.encode()).hexdigest()

    behind = sorted((name for name in documents if not state or token(name) > state), key=token)
    page = behind[: min(_DOCUMENTS, options.get("limit") or _DOCUMENTS)]
    more = token(page[-1]) if len(behind) > len(page) else None
    return {"data": {"documents": [documents[name] for name in page], "nextPageState": more}, "status": {}}

"""adhocprofiles.v1.AdHocProfileService: upload one file, look at it, lay two over one another."""

from __future__ import annotations

import base64
import binascii
import json
import time
import uuid

from google.protobuf.message import Message

from flamewire_server._native import Limits
from flamewire_server._proto.adhocprofiles.v1 import adhocprofiles_pb2
from flamewire_server.config import Config
from flamewire_server.errors import RequestError
from flamewire_server.http.ranges import frame_limit
from flamewire_server.http.render import diff_document, flamebearer_document
from flamewire_server.http.service import Call, Methods
from flamewire_server.model.profile_type import ProfileType
from flamewire_server.query.adhoc import open_profile, upload_limits
from flamewire_server.storage.adhoc_profiles import AdHocProfile, AdHocProfileTable

__all__ = ["AdHocMethods"]

_MAX_NAME_CHARS = 200


class AdHocMethods:
    """The service's methods, from message to message."""

    def __init__(self, config: Config, table: AdHocProfileTable, limits: Limits) -> None:
        self._config = config
        self._table = table
        self._limits = upload_limits(limits)

    def methods(self) -> Methods:
        """Give the methods by name."""
        return {
            "Upload": (adhocprofiles_pb2.AdHocProfilesUploadRequest, self.upload),
            "Get": (adhocprofiles_pb2.AdHocProfilesGetRequest, self.get),
            "List": (adhocprofiles_pb2.AdHocProfilesListRequest, self.list),
            "Diff": (adhocprofiles_pb2.AdHocProfilesDiffRequest, self.diff),
        }

    def upload(self, call: Call, request: adhocprofiles_pb2.AdHocProfilesUploadRequest) -> Message:
        """Store a file that can be read as a profile, and render it."""
        if not 0 < len(request.name) <= _MAX_NAME_CHARS:
            raise RequestError(
                "invalid_argument",
                f"an upload has a name of 1 to {_MAX_NAME_CHARS} characters",
                reason="bad_upload",
            )
        try:
            body = base64.b64decode(request.profile, validate=True)
        except (binascii.Error, ValueError) as error:
            raise RequestError(
                "invalid_argument", f"profile is no base64: {error}", reason="bad_upload"
            ) from error
        now_ms = time.time_ns() // 1_000_000
        # Of time order, so that a list is; the id is no secret.
        profile = AdHocProfile(f"{now_ms:012x}-{uuid.uuid4().hex}", request.name, now_ms, body)
        reply = self._render(profile, "", request.max_nodes)
        self._table.add(call.tenant, profile)
        return reply

    def get(self, call: Call, request: adhocprofiles_pb2.AdHocProfilesGetRequest) -> Message:
        """Render one upload."""
        return self._render(self._find(call, request.id), request.profile_type, request.max_nodes)

    def list(self, call: Call, request: adhocprofiles_pb2.AdHocProfilesListRequest) -> Message:
        """List the uploads."""
        reply = adhocprofiles_pb2.AdHocProfilesListResponse()
        for identity, name, at_ms in self._table.all(call.tenant):
            reply.profiles.add(id=identity, name=name, uploaded_at=at_ms)
        return reply

    def diff(self, call: Call, request: adhocprofiles_pb2.AdHocProfilesDiffRequest) -> Message:
        """Lay two uploads over one another."""
        left, right = self._find(call, request.left_id), self._find(call, request.right_id)
        max_nodes = frame_limit(self._config, request.max_nodes)
        with open_profile(left.body, self._limits) as one, open_profile(right.body, self._limits) as other:
            types = [kind for kind in one.types if kind in other.series]
            kind = _choose(types, request.profile_type, "both profiles have")
            document = diff_document(one.tree(kind), other.tree(kind), ProfileType.parse(kind), max_nodes)
        return adhocprofiles_pb2.AdHocProfilesDiffResponse(
            profile_types=types, flamebearer_profile=json.dumps(document, ensure_ascii=False)
        )

    def _find(self, call: Call, identity: str) -> AdHocProfile:
        found = self._table.get(call.tenant, identity)
        if found is None:
            raise RequestError(
                "not_found", f"there is no upload {identity[:100]!r}; List names them", reason="no_upload"
            )
        return found

    def _render(self, profile: AdHocProfile, asked: str, max_nodes: int) -> Message:
        with open_profile(profile.body, self._limits) as opened:
            kind = _choose(opened.types, asked, "the profile has")
            frames = frame_limit(self._config, max_nodes)
            document = flamebearer_document(opened.tree(kind), ProfileType.parse(kind), frames)
        return adhocprofiles_pb2.AdHocProfilesGetResponse(
            id=profile.id,
            name=profile.name,
            uploaded_at=profile.uploaded_at_ms,
            profile_type=kind,
            profile_types=opened.types,
            flamebearer_profile=json.dumps(document, ensure_ascii=False),
        )


def _choose(types: list[str], asked: str, who: str) -> str:
    if not types or (asked and asked not in types):
        known = ", ".join(types) or "no profile type"
        raise RequestError("invalid_argument", f"{who} {known}", reason="bad_profile_type")
    # CPU first, as what most uploads are looked at for.
    return asked or next((kind for kind in types if kind.startswith("process_cpu:cpu:")), types[0])

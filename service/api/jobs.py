"""Jobs stub."""
from flask_openapi import APIBlueprint
api = APIBlueprint("jobs", __name__, url_prefix="/v1")

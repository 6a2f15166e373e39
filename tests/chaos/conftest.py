"""What the kills share with the flows: a folder of this session, and a Prefect server that runs already."""

from tests.flows.conftest import prefect_url, shared

__all__ = ["prefect_url", "shared"]

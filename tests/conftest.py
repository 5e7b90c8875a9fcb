"""Takes out the guarantee that COPYDESK_TEST_MUTATION names (`make chaos` does so, to see the tests notice)."""

import os

from tests.chaos.mutations import apply_mutation

apply_mutation(os.environ.get("COPYDESK_TEST_MUTATION", ""))

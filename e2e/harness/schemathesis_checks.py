"""What schemathesis checks besides its own; it loads this file by itself."""

import os

import schemathesis

# Faults of the service or of an agent. The check of schemathesis itself takes every 6xx for one.
FAULTS = {600, 602, 612}
# Whoever tries wrong tokens is not told the truth after a while, but to wait: 600, which is temporary.
if os.environ.get("SPOOLWAY_GUESSES"):
    FAULTS -= {600}


@schemathesis.check
def no_fault_of_the_service(context, response, case):
    assert response.status_code not in FAULTS and not 500 <= response.status_code <= 599, response.status_code

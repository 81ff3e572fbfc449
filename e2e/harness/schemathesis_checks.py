"""What schemathesis checks besides its own; it loads this file by itself."""

import schemathesis

# Faults of the service or of an agent. The check of schemathesis itself takes every 6xx for one.
FAULTS = {600, 602, 612}


@schemathesis.check
def no_fault_of_the_service(context, response, case):
    assert response.status_code not in FAULTS and not 500 <= response.status_code <= 599, response.status_code

# SPDX-License-Identifier: Apache-2.0
from start_time import processor_seconds


def test_processor_time_counts_work_and_no_waiting():
    assert processor_seconds(["-c", "import time; time.sleep(0.5)"]) < 0.4
    assert processor_seconds(["-c", "while __import__('time').process_time() < 0.5: pass"]) >= 0.5

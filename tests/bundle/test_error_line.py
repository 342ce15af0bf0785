# SPDX-License-Identifier: Apache-2.0
import logging
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from medti_components.bundle.error_line import (
    TypedErrorFilter,
    error_line,
    find_typed_error,
    install_error_line,
    report,
)
from medti_components.errors import DataError, MedtiError


def raised(error: BaseException, cause: BaseException | None = None, context: BaseException | None = None):
    error.__cause__, error.__context__ = cause, context
    return error


class BrokenDataset:
    def __len__(self):
        return 1

    def __getitem__(self, index):
        try:
            raise DataError("'a.mha' is truncated: download it again")
        except DataError as error:
            raise RuntimeError("applying transform") from error


def test_typed_error_is_found_through_causes_and_contexts():
    typed = DataError("x")
    assert find_typed_error(raised(RuntimeError(), cause=raised(KeyError(), context=typed))) is typed
    assert find_typed_error(raised(RuntimeError(), cause=KeyError())) is None
    assert find_typed_error(None) is None


def test_the_outermost_of_several_typed_errors_wins():
    inner, outer = MedtiError("inner"), MedtiError("outer")
    assert find_typed_error(raised(RuntimeError(), cause=raised(outer, cause=inner))) is outer


def test_a_circle_of_contexts_ends():
    first, second = RuntimeError(), KeyError()
    raised(first, context=second)
    raised(second, context=first)
    assert error_line(first) is None


def test_message_of_several_lines_becomes_one():
    assert error_line(MedtiError("a\n  b")) == "error: a b"


def test_error_in_a_loader_worker_is_shown_without_its_traceback():
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(BrokenDataset(), num_workers=1))
    assert error_line(caught.value) == "error: 'a.mha' is truncated: download it again"


def test_lack_of_gpu_memory_names_the_overlay():
    assert "configs/low_memory.json" in str(error_line(raised(RuntimeError(), cause=torch.OutOfMemoryError())))


def test_report_prints_one_line_for_a_user_and_a_traceback_for_a_defect(capsys):
    report(DataError, DataError("'x' is missing"), None)
    assert capsys.readouterr().err == "error: 'x' is missing\n"
    report(ZeroDivisionError, ZeroDivisionError("defect"), None)
    assert capsys.readouterr().err == "ZeroDivisionError: defect\n"


def test_interruption_ends_with_status_130(capsys):
    with pytest.raises(SystemExit) as caught:
        report(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert caught.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("error", "is_logged"), [(DataError("x"), False), (ZeroDivisionError("x"), True)])
def test_engine_log_of_an_error_with_a_line_of_its_own_is_dropped(error, is_logged):
    record = logging.LogRecord("ignite", logging.ERROR, "", 0, "run is terminating due to exception", (), None)
    try:
        raise RuntimeError from error
    except RuntimeError:
        assert TypedErrorFilter().filter(record) is is_logged
    assert TypedErrorFilter().filter(record)


def test_warnings_while_an_error_is_handled_are_kept():
    record = logging.LogRecord("medti", logging.WARNING, "", 0, "skipped 'a.mha'", (), None)
    try:
        raise DataError("x")
    except DataError:
        assert TypedErrorFilter().filter(record)


def test_installing_twice_adds_one_filter(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    handler = logging.NullHandler()
    logging.getLogger("test_error_line").addHandler(handler)
    install_error_line()
    install_error_line()
    assert sys.excepthook is report
    assert len(handler.filters) == 1

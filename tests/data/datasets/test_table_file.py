# SPDX-License-Identifier: Apache-2.0
import pytest

from medti_components.data.datasets.table_file import table_rows
from medti_components.errors import DataError


def test_rows_by_column_whatever_is_short_or_marked(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfPath,Sex\na.jpg,F\nb.jpg\n")
    assert table_rows(tmp_path / "a.csv", ["Path"], "") == [{"Path": "a.jpg", "Sex": "F"}, {"Path": "b.jpg", "Sex": ""}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no column 'Path': download it again"),
        (b"File\na.jpg\n", "has no column 'Path': download it again"),
        (b"Path\n\xff\xfe", r"is no readable table \('utf-8' codec .*\): download it again"),
        (b"Path\n" + b"a" * 200_000, r"is no readable table \(field larger than .*\): download it again"),
    ],
    ids=["empty", "another", "no text", "endless cell"],
)
def test_a_file_that_is_no_such_table(tmp_path, content, message):
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=f"^'.*a.csv' {message}$"):
        table_rows(tmp_path / "a.csv", ["Path"], "download it again")

"""Rule: code asks a row of a table, not which layout it has (docs/adding-a-layout.md)."""

import re
import unittest

import repository

# What is about one layout alone -> the files that may name it, each with its reason.
OWNERS = {
    r"\bLayout::\w+": {
        "src/gpt_oss/layout_table.cc": "the tables",
        "src/gpt_oss/layout_table.h": "defaults of their rows",
        "src/gpt_oss/config_json.h": "a default",
        "src/gpt_oss/plan.h": "a default",
        "src/gpt_oss/probe.cc": "NeMo's names for Transformer Engine",
        "src/adapter/rank_part.cc": "what NeMo's adapter calls an expert",
        "src/source/load_checkpoint.cc": "NeMo's loader",
        "src/destination/checkpoint_writer.cc": "a save is in Hugging Face's layout",
        "src/sample/sample.cc": "shards cut and named like OpenAI's upload",
        "src/sample/sample_source.cc": "values are those of the names in Hugging Face's layout",
    },
    r"\b(QuantizationConfig|ConfigStyle)::\w+": {
        "src/gpt_oss/layout_table.cc": "the tables",
        "src/gpt_oss/layout_table.h": "defaults of their rows",
        "src/gpt_oss/config_json.cc": "what each of them means",
    },
    r'\{(E|gate\|up)\}| \(U(8|32)\)"': {
        "src/gpt_oss/layout_table.cc": "the tables",
        "src/gpt_oss/name_template.cc": "what each field means",
        "src/gpt_oss/name_template.h": "the same in words",
    },
}


class Tables(unittest.TestCase):
    def test_only_owners_name_what_a_table_decides(self):
        for pattern, owners in OWNERS.items():
            found = {
                str(path)
                for path in repository.files(".h", ".cc")
                if path.parts[0] in ("src", "cli")
                and re.search(pattern, (repository.ROOT / path).read_text())
            }
            # Both ways: an owner that no longer names it leaves the list.
            self.assertEqual(found, set(owners), pattern)


if __name__ == "__main__":
    unittest.main()

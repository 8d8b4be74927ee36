"""Kinds of what people of this trade reported, and the tests that hold each."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# Kind -> file below tests, names of its tests.
HELD: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "a table of a spreadsheet": (
        (
            "indexer/feeds/formats/test_delimited.py",
            (
                "test_the_delimiter_is_found",
                "test_decimal_commas_and_joined_tags_are_no_delimiters",
                "test_a_line_may_say_the_delimiter",
            ),
        ),
    ),
    "encodings": (
        (
            "indexer/feeds/formats/test_delimited.py",
            ("test_encodings_that_spreadsheets_write", "test_an_encoding_that_is_given_is_used"),
        ),
        ("indexer/feeds/test_dataset.py", ("test_a_guessed_encoding_is_a_warning",)),
    ),
    "feeds of other formats beside photos": (
        (
            "indexer/feeds/test_feed_source.py",
            ("test_the_only_feed_beside_photos_is_read", "test_several_feeds_are_named"),
        ),
        ("indexer/feeds/formats/test_xlsx.py", ("test_the_package_that_is_missing_is_named",)),
    ),
    "Shopify": (
        (
            "indexer/feeds/test_groups.py",
            ("test_every_field", "test_what_is_not_for_sale_is_told", "test_photos_of_variants"),
        ),
    ),
    "WooCommerce": (
        (
            "indexer/feeds/test_families.py",
            ("test_every_field", "test_columns_in_the_shops_language"),
        ),
        ("indexer/feeds/test_product_reader.py", ("test_several_photos_in_one_cell",)),
    ),
    "Google": (
        (
            "indexer/feeds/test_product_reader.py",
            ("test_google_rows_are_products", "test_supplemental_feed_is_partial"),
        ),
        (
            "indexer/feeds/formats/test_xml.py",
            ("test_rss_of_google", "test_atom_and_lists_of_other_names"),
        ),
        ("indexer/feeds/test_profile_choice.py", ("test_names_of_numbered_categories",)),
    ),
    "Magento": (
        ("indexer/feeds/test_families.py", ("test_several_values_and_dates_of_magento",)),
        ("tools/bench/test_feeds.py", ("test_every_field_of_a_feed_is_right",)),
    ),
    "codes that look like numbers": (
        ("indexer/feeds/values/test_identifiers.py", ("test_names_of_codes",)),
        (
            "indexer/feeds/test_importer.py",
            (
                "test_stored_types_hold_for_later_feeds",
                "test_a_later_feed_that_looks_narrower_changes_no_value",
            ),
        ),
    ),
    "an odd value": (
        ("indexer/feeds/test_product_reader.py", ("test_an_odd_value_costs_itself",)),
        ("indexer/feeds/test_importer.py", ("test_a_field_that_no_catalog_takes_costs_itself",)),
        ("indexer/feeds/test_row_plan.py", ("test_no_cell_ends_an_import",)),
    ),
    "a long cell, an open quote": (
        (
            "indexer/feeds/test_csv_rows.py",
            ("test_a_long_cell_is_a_cell", "test_an_open_quote_ends_where_rows_look_sound"),
        ),
        (
            "indexer/feeds/test_attribute_room.py",
            ("test_a_cell_that_is_too_long_costs_no_product",),
        ),
    ),
    "an import of nothing": (
        (
            "indexer/feeds/test_import_report.py",
            (
                "test_the_failure_names_the_commonest_reason",
                "test_the_command_exits_1_where_nothing_came_in",
            ),
        ),
    ),
    "paths of Windows": (("indexer/feeds/test_photo_files.py", ("test_paths_of_other_machines",)),),
    "names of a Mac": (("indexer/feeds/test_photo_files.py", ("test_paths_of_other_machines",)),),
    "a packed folder": (
        (
            "indexer/feeds/test_feed_source.py",
            ("test_a_zip_is_read_one_folder_down", "test_class_folders_in_a_zip"),
        ),
    ),
    "names in archives": (
        ("indexer/feeds/test_archives.py", ("test_names_are_what_they_were_meant_to_be",)),
        (
            "indexer/feeds/test_feed_source.py",
            ("test_the_manifest_goes_before_other_formats", "test_several_feeds_are_named"),
        ),
    ),
    "what storage systems leave": (
        ("indexer/feeds/test_folder.py", ("test_what_systems_leave_is_counted_once_a_name",)),
    ),
    "very large photos": (
        (
            "indexer/imaging/test_jpeg.py",
            (
                "test_up_to_four_times_the_limit_is_decoded_reduced",
                "test_other_formats_name_the_option",
                "test_memory_of_a_hundred_megapixels_is_bounded",
            ),
        ),
    ),
    "photos that end early": (
        (
            "indexer/imaging/test_jpeg.py",
            (
                "test_without_its_end_mark_a_photo_is_whole",
                "test_lost_last_blocks_are_counted_and_filled",
                "test_no_cut_gives_other_pixels_in_silence",
            ),
        ),
        ("indexer/quality/test_assess.py", ("test_a_photo_whose_file_ends_early_is_told",)),
    ),
    "TIFF": (
        (
            "indexer/imaging/test_tiff.py",
            (
                "test_planes_of_sixteen_bits_are_the_same_picture",
                "test_palettes_of_eight_and_sixteen_bits",
                "test_a_whole_file_is_never_called_damaged",
            ),
        ),
    ),
    "light drawings on transparency": (
        (
            "indexer/imaging/test_srgb.py",
            (
                "test_a_drawing_as_light_as_white_lies_on_grey",
                "test_two_white_drawings_are_two_pictures",
            ),
        ),
    ),
    "grey with a transparent value": (
        ("indexer/imaging/test_png.py", ("test_one_grey_is_transparent",)),
    ),
    "one thing, many prints": (
        (
            "indexer/duplicates/test_print_difference.py",
            ("test_a_print_on_demand_shop_has_no_groups", "test_copies_are_no_other_prints"),
        ),
    ),
    "small things": (
        (
            "indexer/duplicates/test_perceptual_hash.py",
            ("test_small_things_on_white_are_known_by_the_thing",),
        ),
    ),
    "a proxy": (
        (
            "service/access/test_control.py",
            (
                "test_a_page_behind_a_proxy_asks_by_its_public_address",
                "test_below_a_path_of_a_proxy_everything_is_found",
                "test_slashes_that_a_proxy_decoded_are_of_the_id",
            ),
        ),
        ("service/server/test_web_server.py", ("test_too_large_a_body_is_a_problem_document",)),
    ),
    "folders of splits": (
        ("indexer/feeds/test_folder.py", ("test_splits_by_any_of_their_names",)),
        (
            "indexer/training/test_problem.py",
            (
                "test_a_category_is_never_set_aside_whole",
                "test_a_category_without_a_training_photo_is_named",
            ),
        ),
    ),
    "words of stock and price": (
        ("indexer/feeds/values/test_availability.py", ("test_the_words_of_shops_are_known",)),
        ("service/query/test_recommend.py", ("test_out_of_stock_is_never_recommended",)),
    ),
    "the quota of a container": (
        (
            "indexer/core/test_container.py",
            (
                "test_threads_are_counted_by_the_quota",
                "test_libraries_start_with_the_quotas_threads",
            ),
        ),
    ),
    "a cache that cannot be written": (
        (
            "indexer/training/test_feature_cache.py",
            ("test_a_cache_that_cannot_be_written_is_gone_without",),
        ),
    ),
}


@cache
def functions(path: Path) -> frozenset[str]:
    """Names of the functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("kind", HELD)
def test_each_kind_is_held_by_tests_that_are_there(kind: str) -> None:
    """A test that is renamed or gone is missed here."""
    missing = [
        f"{file}::{name}"
        for file, names in HELD[kind]
        for name in names
        if name not in functions(TESTS / file)
    ]
    assert missing == []


def test_all_kinds_are_here() -> None:
    print(f"kinds of reports: {len(HELD)} (goal 28)")
    assert len(HELD) == 28

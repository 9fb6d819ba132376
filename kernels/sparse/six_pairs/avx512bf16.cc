#include "kernels/sparse/six_pairs/lists.h"
#include "kernels/sparse/six_pairs/matched.h"
#include "kernels/sparse/six_pairs/nm24.h"

namespace prune::kernels {
namespace {

template <class Format, class Rows>
constexpr StagedKernel<Rows> kernel(const char* name, WeightType type) {
  using Shape = typename Format::Shape;
  return {
      .name = name,
      .type = type,
      .in_bytes = false,
      .panel = make_pair_panel_code<Shape::kColumns, 32>(),
      .block_inputs = Shape::kInputs,
      .block_bytes = Format::Places::kRows * Shape::kPairBytes,
      .in_place = Format::kInPlace,
      .once = Format::kOnce,
      .staged_bytes = [](int64_t rows,
                         int64_t blocks) { return Format::kStateBytes + blocks * Format::block_bytes(rows); },
      .stage = Format::stage,
      .stage_scaled = nullptr,
      .multiply = multiply_columns<Format>};
}
// Whole numbers, which Scaled stages with the scales of their groups.
template <class Format, class Scaled, class Rows>
constexpr StagedKernel<Rows> kernel(const char* name) {
  StagedKernel<Rows> made = kernel<Format, Rows>(name, WeightType::kI8);
  made.stage_scaled = Scaled::stage;
  return made;
}

}  // namespace

constexpr StagedKernel<Nm24Rows> six_pairs_nm24_bf16_avx512bf16 =
    kernel<Nm24Format<Bf16Values>, Nm24Rows>("six_pairs_nm24_bf16_avx512bf16", WeightType::kBf16);
constexpr StagedKernel<Nm24Rows> six_pairs_nm24_i8_avx512bf16 =
    kernel<Nm24Format<Int8Values>, Nm24Format<ScaledInt8Values>, Nm24Rows>("six_pairs_nm24_i8_avx512bf16");
constexpr StagedKernel<Nm24Rows> six_pairs_matched_nm24_bf16_avx512bf16 =
    kernel<MatchedFormat<Bf16Values>, Nm24Rows>("six_pairs_matched_nm24_bf16_avx512bf16", WeightType::kBf16);
constexpr StagedKernel<Nm24Rows> six_pairs_matched_nm24_i8_avx512bf16 =
    kernel<MatchedFormat<Int8Values>, MatchedFormat<ScaledInt8Values>, Nm24Rows>(
        "six_pairs_matched_nm24_i8_avx512bf16");
constexpr StagedKernel<BitmaskRows> six_pairs_bitmask_bf16_avx512bf16 =
    kernel<ListFormat<Bf16Values>, BitmaskRows>("six_pairs_bitmask_bf16_avx512bf16", WeightType::kBf16);
constexpr StagedKernel<BitmaskRows> six_pairs_bitmask_i8_avx512bf16 =
    kernel<ListFormat<Int8Values>, ListFormat<ScaledInt8Values>, BitmaskRows>(
        "six_pairs_bitmask_i8_avx512bf16");

}  // namespace prune::kernels

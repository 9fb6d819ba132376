#include "libprune/model/pack_report.h"

namespace prune {

nlohmann::json to_json(const PackedTensorReport& t) {
  nlohmann::json entry = {{"name", t.name},
                          {"dtype", t.dtype},
                          {"shape", {t.out, t.in}},
                          {"zeros", t.zeros},
                          {"format", t.format},
                          {"reason", t.reason},
                          {"lost_signs", t.lost_signs},
                          {"dense_bytes", t.dense_bytes},
                          {"packed_bytes", t.packed_bytes}};
  if (t.output_error) entry["output_error"] = *t.output_error;
  return entry;
}

PackedTensorReport packed_tensor_report_from_json(const nlohmann::json& entry) {
  PackedTensorReport report = {entry.at("name"),        entry.at("dtype"),      entry.at("shape").at(0),
                               entry.at("shape").at(1), entry.at("zeros"),      entry.at("format"),
                               entry.at("reason"),      entry.at("lost_signs"), entry.at("dense_bytes"),
                               entry.at("packed_bytes")};
  if (entry.contains("output_error")) report.output_error = entry.at("output_error").get<double>();
  return report;
}

nlohmann::json to_json(const PackReport& report) {
  nlohmann::json tensors = nlohmann::json::array();
  for (const PackedTensorReport& t : report.tensors) tensors.push_back(to_json(t));
  return {{"model", report.model},
          {"output", report.output},
          {"model_bytes", report.model_bytes},
          {"packed_model_bytes", report.packed_model_bytes},
          {"seconds", report.seconds},
          {"tensors", tensors}};
}

}  // namespace prune

#include "apps/prune/layer_rows.h"

#include <cctype>

namespace prune::app {
namespace {

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

size_t end_of_digits(std::string_view text, size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

// -1, 0 or 1 for two runs of digits as numbers of any length.
int compare_numbers(std::string_view a, std::string_view b) {
  while (a.size() > 1 && a.front() == '0') a.remove_prefix(1);
  while (b.size() > 1 && b.front() == '0') b.remove_prefix(1);
  if (a.size() != b.size()) return a.size() < b.size() ? -1 : 1;
  return a.compare(b);
}

}  // namespace

std::string layer_of(std::string_view tensor) {
  for (size_t dot = tensor.find('.'); dot != std::string_view::npos; dot = tensor.find('.', dot + 1)) {
    const size_t end = end_of_digits(tensor, dot + 1);
    if (end > dot + 1 && end < tensor.size() && tensor[end] == '.') return std::string(tensor.substr(0, end));
  }
  return std::string(tensor);
}

bool NaturalLess::operator()(std::string_view a, std::string_view b) const {
  size_t i = 0;
  size_t j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const size_t i_end = end_of_digits(a, i);
      const size_t j_end = end_of_digits(b, j);
      const int order = compare_numbers(a.substr(i, i_end - i), b.substr(j, j_end - j));
      if (order != 0) return order < 0;
      i = i_end;
      j = j_end;
    } else if (a[i] != b[j]) {
      return a[i] < b[j];
    } else {
      ++i;
      ++j;
    }
  }
  return a.size() - i < b.size() - j;
}

}  // namespace prune::app

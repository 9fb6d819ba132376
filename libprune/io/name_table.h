// Values by names that live elsewhere.
#pragma once

#include <bit>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "libprune/io/text.h"
#include "prune/error.h"

namespace prune {

// One array and no allocation a name, which a file of many tensors feels. The names must outlive the table.
// They come from files that nobody vouches for: where more of them meet in one place than chance makes of any
// number of names, insert() throws Error(kInput), so that no file takes time out of proportion to its size.
template <class Value>
class NameTable {
 public:
  explicit NameTable(size_t names = 0) : places_(std::bit_ceil(2 * names + 2)) {}
  // No copies: whoever copies an owner of names copies these too, and would be left with views of the others.
  NameTable(NameTable&&) noexcept = default;
  NameTable& operator=(NameTable&&) noexcept = default;

  size_t size() const { return size_; }

  // The value that `name` has already, which stays; nullptr when it is new.
  const Value* insert(std::string_view name, const Value& value) {
    if (2 * size_ >= places_.size()) grow();
    const size_t index = index_of(name);
    Place& place = places_[index];
    if (place.is_taken) return &place.value;
    if (((index - hash_of(name)) & (places_.size() - 1)) > kMostSteps)
      throw_input("more than " + std::to_string(kMostSteps) + " names of one hash, " + quote_name(name) +
                  " is the last: made for that");
    place = {name, value, true};
    ++size_;
    return nullptr;
  }

  const Value* find(std::string_view name) const {
    const Place& place = places_[index_of(name)];
    return place.is_taken ? &place.value : nullptr;
  }

 private:
  struct Place {
    std::string_view name;
    Value value = {};
    bool is_taken = false;
  };

  // From a name's place by its hash to its own. Half of the places are free, so chance makes some 80 of ten
  // million names.
  static constexpr size_t kMostSteps = 256;

  static size_t hash_of(std::string_view name) { return std::hash<std::string_view>()(name); }

  // Of the place that has the name, or where it belongs. One is always free.
  size_t index_of(std::string_view name) const {
    size_t i = hash_of(name);
    while (true) {
      i &= places_.size() - 1;
      if (!places_[i].is_taken || places_[i].name == name) return i;
      ++i;
    }
  }

  void grow() {
    std::vector<Place> old(2 * places_.size());
    old.swap(places_);
    for (const Place& place : old) {
      if (place.is_taken) places_[index_of(place.name)] = place;
    }
  }

  std::vector<Place> places_;  // a power of two
  size_t size_ = 0;
};

}  // namespace prune

// Passes over everything that a training must know to go on, to save it or to put it back.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace prune {

class StateVisitor {
 public:
  virtual ~StateVisitor() = default;
  // One piece of the state under a name of its own; read when it is saved, written when it is put back.
  virtual void bytes(const std::string& name, std::span<std::byte> values) = 0;

  template <class T>
  void values(const std::string& name, std::span<T> values) {
    bytes(name, std::as_writable_bytes(values));
  }
  template <class T>
  void value(const std::string& name, T& value) {
    values(name, std::span<T>(&value, 1));
  }
};

}  // namespace prune

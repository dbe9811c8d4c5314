// SPDX-License-Identifier: Apache-2.0
// lbd's two servers: the control API on its unix socket (docs/api.md), and the Prometheus page on the metrics address.
// Thread rule: that of the controller.
#pragma once

#include <memory>

#include "ctl/api/http_server.h"
#include "ctl/lbd/controller.h"

namespace fairlead {

class Server {
  public:
    // The controller must outlive the server.
    static Result<std::unique_ptr<Server>> create(boost::asio::io_context& io, Controller& controller);

  private:
    Server(boost::asio::io_context& io, Controller& controller);

    void answer(const api::Request& request, const api::Reply& reply);
    api::Response get(const std::string& path);
    api::Response post(const api::Request& request);
    api::Response change(const api::Request& request);
    api::Response change_role(const api::Request& request);
    api::Response reload(const std::string& body);
    api::Response fail_back(const std::string& body);
    api::Response switch_engine(const std::string& body);
    api::Response config_diff(const std::string& body);
    api::Response plan(const std::string& body);

    api::HttpServer control_;
    api::HttpServer metrics_;
    Controller& controller_;
};

}  // namespace fairlead
